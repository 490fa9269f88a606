# SPDX-License-Identifier: Apache-2.0
"""What `python -m coopdl` becomes: python -m coopdl._script SCRIPT [ARG]...

What must hold: the script finds the process as `python SCRIPT` would have made it: sys.argv,
sys.path and __main__ are its own, and so is the exit status, unless the budget ends it.
"""
import os
import runpy
import sys

import coopdl

LATE = 124  # as timeout(1) says it
OURS = {__file__, runpy.run_path.__code__.co_filename}


def of_the_script(trace):
    """The part of a traceback that says where the script was."""
    while trace and trace.tb_frame.f_code.co_filename in OURS:
        trace = trace.tb_next
    return trace


def main():
    del sys.argv[0]
    script = sys.argv[0]
    if not sys.flags.isolated and not getattr(sys.flags, 'safe_path', False):
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    try:
        runpy.run_path(script, run_name='__main__')
    except (coopdl.DeadlineExceeded, coopdl.DeadlineInsists) as late:
        if getattr(late, 'scope', None) is not None:
            raise  # a scope of the script's own
        sys.excepthook(type(late), late, of_the_script(late.__traceback__))
        sys.exit(LATE)


if __name__ == '__main__':
    main()
