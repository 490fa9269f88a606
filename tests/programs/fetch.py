#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The job that hangs at three in the morning: fetch.py URL

Fetches URL with pycurl, that is, with libcurl inside a C extension.  Nobody
thought of a time-out.  An error is printed and gives exit status 1.
"""
import sys

import pycurl


def fetch(url):
    body = []
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEFUNCTION, body.append)
    curl.perform()
    return b"".join(body)


try:
    print(len(fetch(sys.argv[1])), "bytes")
except pycurl.error as error:
    sys.exit(f"fetch.py: pycurl.error: {error}")
