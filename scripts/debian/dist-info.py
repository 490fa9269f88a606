# SPDX-License-Identifier: Apache-2.0
"""dist-info.py VERSION FOLDER -- what says of a Python package that it is installed.

By it importlib.metadata knows the version and pytest finds its plugin.  The command has no entry
point there: that of the package coopdl is /usr/bin/coopdl.
"""
import os
import sys
import tomllib


def main(version, folder):
    with open('pyproject.toml', 'rb') as file:
        project = tomllib.load(file)['project']
    information = os.path.join(folder, f"{project['name']}-{version}.dist-info")
    os.mkdir(information)
    files = {
        'METADATA': ['Metadata-Version: 2.1', f"Name: {project['name']}", f'Version: {version}',
                     f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}",
                     *(f'Classifier: {classifier}' for classifier in project['classifiers'])],
        'INSTALLER': ['debian'],
        'entry_points.txt': [line for group, names in project['entry-points'].items()
                             for line in [f'[{group}]', *(f'{name} = {names[name]}' for name in names)]],
    }
    for name, lines in files.items():
        with open(os.path.join(information, name), 'w', encoding='utf-8') as file:
            file.write('\n'.join([*lines, '']))


main(*sys.argv[1:])
