#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""installed.py -- what a user has: the wheel, installed in a virtual environment.

usage: installed.py PYTHON BUILT SOURCE VERSION DIRECTORY

Makes a wheel for PYTHON of the package that was BUILT, with coopdl.pth at its root, and a virtual
environment in DIRECTORY with that wheel in it, and in it nothing else: what PYTHON itself has is
seen from there.  It needs no network, and neither pip nor meson-python, which only one of the
Pythons has.
"""
import base64
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile

DESCRIBE = """
import json, sys, sysconfig
print(json.dumps([sysconfig.get_config_var('EXT_SUFFIX'), sysconfig.get_platform(),
                  'cp%d%d' % sys.version_info[:2], sysconfig.get_path('platlib')]))
"""

METADATA = 'Metadata-Version: 2.1\nName: coopdl\nVersion: {version}\nRequires-Python: >=3.10,<3.15\n'
WHEEL = ('Wheel-Version: 1.0\nGenerator: libcoopdl\nRoot-Is-Purelib: false\n'
         'Tag: {python}-{abi}-{platform}\n')
# What pyproject.toml says.
ENTRY_POINTS = ('[console_scripts]\ncoopdl = coopdl._command:main\n\n'
                '[pytest11]\ncoopdl.pytest = coopdl.pytest\n')


def described(python):
    """The suffix of extensions, the platform, the tag, and where packages are."""
    done = subprocess.run([python, '-c', DESCRIBE], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def contents(built, source, suffix):
    """The names in the wheel, and the files that they are."""
    names = [name for pattern in ('*.py', '*.pyi', 'py.typed', 'libcoopdl.so.0', '_coopdl' + suffix)
             for name in glob.glob(pattern, root_dir=os.path.join(built, 'coopdl'))]
    if '_coopdl' + suffix not in names:
        sys.exit(f'installed.py: there is no _coopdl{suffix} in {built}/coopdl')
    files = {f'coopdl/{name}': os.path.join(built, 'coopdl', name) for name in names}
    files['coopdl.pth'] = os.path.join(source, 'src', 'python', 'coopdl', 'coopdl.pth')
    return files


def pack(path, files, information, texts):
    """A wheel is an archive with a list of what is in it."""
    record = []
    with zipfile.ZipFile(path, 'w') as archive:
        def add(name, data):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
            record.append(f'{name},sha256={digest},{len(data)}')
            archive.writestr(name, data)

        for name, file in files.items():
            with open(file, 'rb') as opened:
                add(name, opened.read())
        for name, text in texts.items():
            add(f'{information}/{name}', text.encode())
        archive.writestr(f'{information}/RECORD', '\n'.join([*record, f'{information}/RECORD,,', '']))


def main(python, built, source, version, directory):
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([python, '-m', 'venv', '--without-pip', '--system-site-packages', directory],
                   check=True)
    suffix, platform, tag, site = described(os.path.join(directory, 'bin', 'python3'))
    abi = 'cp' + suffix.split('-')[1]
    platform = platform.replace('-', '_').replace('.', '_')
    wheel = os.path.join(directory, f'coopdl-{version}-{tag}-{abi}-{platform}.whl')
    pack(wheel, contents(built, source, suffix), f'coopdl-{version}.dist-info',
         {'METADATA': METADATA.format(version=version),
          'entry_points.txt': ENTRY_POINTS,
          'WHEEL': WHEEL.format(python=tag, abi=abi, platform=platform)})
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


main(*sys.argv[1:])
