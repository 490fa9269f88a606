#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_pages.py -- the pages of docs/: links lead somewhere, files and tests that are named exist, all
pages are in the index, and the HTML build finds nothing wrong.

That the list of calls is up to date is checked with the table (tests/symbols).
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DOCS = os.path.join(ROOT, 'docs')
sys.path.insert(0, os.path.dirname(HERE))

from tap import differences, report


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def pages():
    """The Markdown files of docs/ and of the top, by their paths from the top."""
    names = [name for name in os.listdir(ROOT) if name.endswith('.md')]
    names += [os.path.join('docs', name) for name in os.listdir(DOCS) if name.endswith('.md')]
    return {name: read(os.path.join(ROOT, name)) for name in sorted(names)}


def prose(text):
    """Without blocks of code."""
    return re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)


def anchors(text):
    """As GitHub and mkdocs make them of headings."""
    headings = re.findall(r'^#+ (.*)$', prose(text), re.M)
    return {re.sub(r'[^\w -]', '', heading.lower()).strip().replace(' ', '-')
            for heading in headings}


def check_links():
    wrong = []
    for page, text in pages().items():
        for link in re.findall(r'\]\(([^)\s]+)\)', prose(text)):
            if re.match(r'\w+:', link):
                continue
            path, _, anchor = link.partition('#')
            target = os.path.normpath(os.path.join(ROOT, os.path.dirname(page), path)) \
                if path else os.path.join(ROOT, page)
            if not os.path.exists(target):
                wrong.append(f'{page}: {link}: there is no such file')
            elif page.startswith('docs') and not target.startswith(DOCS):
                wrong.append(f'{page}: {link}: is not among the pages, so in HTML it leads nowhere')
            elif anchor and anchor not in anchors(read(target)):
                wrong.append(f'{page}: {link}: there is no such heading')
    return wrong


def check_files():
    """`src/...` and the like: what is named as a file is one."""
    return [f'{page}: `{path}`: there is no such file'
            for page, text in pages().items()
            for path in re.findall(r'`((?:src|include|tests|scripts|examples|man|docs)/[\w./-]+)`',
                                   prose(text))
            if not os.path.exists(os.path.join(ROOT, path))]


def check_tests():
    """`tests/unit/test_scope.c: in_time`: a test of Criterion's, or a function."""
    named = re.findall(r'`(tests/[\w./]+): (\w+)`', read(os.path.join(DOCS, 'guarantees.md')))
    if not named:
        return ['no test is named at all']
    wrong = []
    for path, name in named:
        path = os.path.join(ROOT, path)
        if not os.path.exists(path):
            wrong.append(f'{path}: there is no such file')
        elif not re.search(rf'Test\(\w+, {name}\b|def {name}\b|^(static )?void {name}\(',
                           read(path), re.M):
            wrong.append(f'{path}: there is no test {name}')
    return wrong


def check_guarantees():
    """Each row names a test."""
    rows = re.findall(r'^\| (?!guarantee)(.*?) \| (.*) \|$', read(os.path.join(DOCS, 'guarantees.md')),
                      re.M)
    return [f'{guarantee}: by no test' for guarantee, shown in rows if '`tests/' not in shown]


def check_index():
    there = {name for name in os.listdir(DOCS) if name.endswith('.md')} - {'index.md'}
    listed = set(re.findall(r'\]\(([\w-]+\.md)', read(os.path.join(DOCS, 'index.md'))))
    wrong = differences(listed, there, 'docs/')
    menu = set(re.findall(r': ([\w-]+\.md)$', read(os.path.join(ROOT, 'mkdocs.yml')), re.M))
    return wrong + differences(menu - {'index.md'}, there, 'docs/')


def check_readme():
    """It is read in one go; what it does not say is in docs/."""
    lines = read(os.path.join(ROOT, 'README.md')).count('\n')
    return [f'it has {lines} lines, more than 150'] if lines > 150 else []


def check_html():
    if not shutil.which('mkdocs'):
        return 'no mkdocs here'
    with tempfile.TemporaryDirectory() as site:
        done = subprocess.run(['mkdocs', '--quiet', 'build', '--strict', '--site-dir', site], cwd=ROOT,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=120, check=False)
        if done.returncode:
            return done.stdout.splitlines() or ['mkdocs failed']
        return [] if os.path.exists(os.path.join(site, 'index.html')) else ['there is no index.html']


def main():
    return report([
        ('links lead somewhere', check_links),
        ('files that are named are there', check_files),
        ('tests that are named are there', check_tests),
        ('every guarantee names a test', check_guarantees),
        ('all pages are in the index and in the menu', check_index),
        ('the README is short', check_readme),
        ('mkdocs finds nothing wrong', check_html),
    ])


if __name__ == '__main__':
    sys.exit(main())
