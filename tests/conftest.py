"""What holds for every test: children start with default signals, and hypothesis tries the same examples each time.

`make soak` searches for others; one that fails is kept beside its test as an `@example`.
"""

import hypothesis

from tests.processes import give_children_default_signals

give_children_default_signals()
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")
