#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""floors.py -- which file of src/ includes which: prints the floors, the ground last; fails if there
is a circle.

A .c and its .h are one file.  A file stands one floor above the highest that it includes.
"""
import pathlib
import re
import sys

src = pathlib.Path(__file__).resolve().parent.parent / 'src'
files = [path for path in src.rglob('*') if path.suffix in ('.c', '.h', '.def')]
below = {path.with_suffix(''): set() for path in files}
for path in files:
    for name in re.findall(r'^ *# *include "(.+)"', path.read_text(), re.MULTILINE):
        for found in {(path.parent / name).resolve(), src / name} & set(files):
            below[path.with_suffix('')].add(found.with_suffix(''))

floors = []
while below:  # takes away the files that include none of those that are left
    floor = {name for name in below if not below[name] & below.keys() - {name}}
    if not floor:
        break
    floors.append(floor)
    below = {name: included for name, included in below.items() if name not in floor}
for number, floor in reversed(list(enumerate(floors))):
    names = sorted(str(name.relative_to(src)) for name in floor)
    print(f'{number:2}  {" ".join(names)}')
for name, included in sorted(below.items()):
    circle = sorted(str(other.relative_to(src)) for other in included & below.keys() - {name})
    print(f'in a circle, or above one: {name.relative_to(src)} includes {" ".join(circle)}')
sys.exit(bool(below))
