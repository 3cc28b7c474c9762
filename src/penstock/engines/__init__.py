"""How to run a model on our own machines: one module per engine, workers as processes of their own."""
