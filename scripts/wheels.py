#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wheels.py WHEEL BUILD FOLDER -- the wheels for every CPython, out of the one for Debian's.

A wheel of meson-python's is for the Python that runs it, and meson before 1.3 knows none from 3.12
on.  But BUILD, a build directory, has the extension for every Python that was found; all else in
WHEEL is the same for them.  So each gets WHEEL with its own extension and its own name.

The name says manylinux_2_17, so that pip takes it nowhere with an older glibc.  What must hold:
tests/portable has found nothing above that in BUILD.
"""
import base64
import glob
import hashlib
import os
import re
import sys
import zipfile

EXTENSION = re.compile(r'coopdl/_coopdl\.cpython-(\d+)-(\w+?)-linux-gnu\.so')  # no debug build's


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()


def contents(wheel):
    """Each file with its data, but those that say what the wheel is."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and not entry.filename.endswith(('.dist-info/WHEEL', '.dist-info/RECORD')):
                yield entry, archive.read(entry)


def pack(wheel, extension, folder):
    """Writes the wheel for the Python that the extension is for."""
    version = os.path.basename(wheel).split('-')[1]
    name = 'coopdl/' + os.path.basename(extension)
    python, machine = EXTENSION.fullmatch(name).groups()
    tag = f'cp{python}-cp{python}-manylinux_2_17_{machine}'
    with open(extension, 'rb') as file:
        code = file.read()
    information = f'coopdl-{version}.dist-info'
    record = []
    with zipfile.ZipFile(os.path.join(folder, f'coopdl-{version}-{tag}.whl'), 'w',
                         zipfile.ZIP_DEFLATED) as archive:
        def add(entry, data):
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
            record.append(f'{entry.filename},sha256={digest(data)},{len(data)}\n')

        for entry, data in contents(wheel):
            if EXTENSION.fullmatch(entry.filename):
                entry.filename, data = name, code
            add(entry, data)
        add(zipfile.ZipInfo(f'{information}/WHEEL'),
            f'Wheel-Version: 1.0\nGenerator: libcoopdl\nRoot-Is-Purelib: false\nTag: {tag}\n'.encode())
        archive.writestr(zipfile.ZipInfo(f'{information}/RECORD'),
                         ''.join([*record, f'{information}/RECORD,,\n']))


def main(wheel, build, folder):
    extensions = glob.glob(os.path.join(build, 'src', 'python', 'coopdl', '_coopdl.*.so'))
    for extension in extensions:
        if EXTENSION.fullmatch('coopdl/' + os.path.basename(extension)):
            pack(wheel, extension, folder)


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit('usage: scripts/wheels.py WHEEL BUILD FOLDER')
    main(*sys.argv[1:])
