# SPDX-License-Identifier: Apache-2.0
"""pages.py -- the examples of docs/, as the files that they say they are.

A block of code whose first line is a comment with the name of a file is that file.
"""
import os
import re

DOCS = os.path.join(os.environ['SOURCE'], 'docs')


def files(page):
    """What is in docs/PAGE: the texts of its files by their names."""
    with open(os.path.join(DOCS, page), encoding='utf-8') as opened:
        blocks = re.findall(r'^```\w+\n(# (\S+\.\w+)\n.*?)^```$', opened.read(), re.M | re.S)
    return {name: text for text, name in blocks}


def write(page, directory):
    for name, text in files(page).items():
        with open(os.path.join(directory, name), 'w', encoding='utf-8') as opened:
            opened.write(text)
