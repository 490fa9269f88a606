# SPDX-License-Identifier: Apache-2.0
"""tap.py -- a list of checks, reported as TAP: each is a name and a function whose result is the
list of what is wrong, or a string that says why the check is skipped."""


def report(checks):
    """The exit status: 1 if something is wrong."""
    print(f'1..{len(checks)}')
    bad = False
    for number, (name, check) in enumerate(checks, 1):
        complaints = check()
        if isinstance(complaints, str):
            print(f'ok {number} - {name} # SKIP {complaints}')
            continue
        print(f'{"not ok" if complaints else "ok"} {number} - {name}')
        for complaint in complaints:
            print(f'# {complaint}')
        bad = bad or bool(complaints)
    return int(bad)


def differences(documented, there, where):
    """What is in only one of two sets of names; `where` is the second's."""
    return ([f'{name}: documented, but not in {where}' for name in sorted(documented - there)] +
            [f'{name}: in {where}, but not documented' for name in sorted(there - documented)])
