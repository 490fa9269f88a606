# SPDX-License-Identifier: Apache-2.0
"""chart.py -- the charts: late.svg, scope.svg and threads.svg, each of the rows that were measured.
"""
import os

import matplotlib

matplotlib.use('svg')
import matplotlib.pyplot as plt  # noqa: E402

OURS, THEIRS = '#1f6fb2', '#b0b0b0'
# The same bytes for the same figures.
STEADY = {'svg.hashsalt': 'libcoopdl', 'svg.fonttype': 'none', 'font.size': 9}


def finish(figure, axes, here, title, file):
    axes.set_title(f"{title}\n{here['date']}, {here['processor']}", fontsize=9)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={'Date': None})
    plt.close(figure)


def bars(rows, ours, unit, here, title, file):
    """A pair of bars for each row; on a logarithmic axis, since peers differ by powers of ten."""
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.36 * len(rows)))
    places = range(len(rows))
    mine = [row.chart[ours] for row in rows]
    theirs = [row.chart['against ' + ours] or 0 for row in rows]
    axes.barh([place - 0.2 for place in places], mine, 0.38, color=OURS, label='libcoopdl')
    axes.barh([place + 0.2 for place in places], theirs, 0.38, color=THEIRS, label='compared with')
    axes.set_yticks(list(places), [label(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.set_xlabel(unit)
    finish(figure, axes, here, title, file)


def label(row):
    peer = row.chart.get('peer', row.against)
    return f"{row.chart.get('what', row.what)} / {peer}"


def many_threads(rows, here, file):
    figure, axes = plt.subplots(figsize=(8, 4))
    for which, style in (('p50', '-o'), ('worst', '--o')):
        points = [row.chart for row in rows if row.chart['which'] == which]
        counts = [point['count'] for point in points]
        axes.plot(counts, [point['ms'] for point in points], style, color=OURS,
                  label=f'in scopes, {which}')
        axes.plot(counts, [point['against ms'] for point in points], style, color=THEIRS,
                  label=f'clock_nanosleep, {which}')
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.set_xlabel('threads whose deadlines lie within 100 ms')
    axes.set_ylabel('ms late')
    finish(figure, axes, here, 'Many threads that expire at once', file)


def draw(rows, here, directory):
    def path(name):
        return os.path.join(directory, name + '.svg')

    def of(group):
        return [row for row in rows if row.group == group and row.chart]

    with plt.rc_context(STEADY):
        late = [row for row in of('late') if row.chart['percent'] == 50]
        if late:
            bars(late, 'ms', 'ms after the deadline, median', here, 'Lateness', path('late'))
        if of('scope'):
            bars(of('scope'), 'ns', 'ns of processor time', here, 'One scope entered and left',
                 path('scope'))
        if of('threads'):
            many_threads(of('threads'), here, path('threads'))
