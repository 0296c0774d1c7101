"""How the small planner is trained: on requests, decisions, word vectors and intents."""
