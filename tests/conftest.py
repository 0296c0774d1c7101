"""Settings of every test: one thread a pass, children with default signals, fixed examples.

Two threads of torch that find one core free take twenty times as long as one.
Hypothesis draws the same examples each time; `make soak` searches for others, and one that fails
is kept beside its test as an `@example`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; children take it over

import hypothesis

from tests.processes import give_children_default_signals

give_children_default_signals()
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")
