"""One file per topic. Each has `exchange(rng, language)`: a few messages, user first, assistant last."""
