"""What holds for every test: one thread a pass, children with default signals, the same examples of hypothesis each time.

Two threads of torch that find one core free take twenty times as long as one.
`make soak` searches for others; one that fails is kept beside its test as an `@example`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; children take it over

import hypothesis

from tests.processes import give_children_default_signals

give_children_default_signals()
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")
