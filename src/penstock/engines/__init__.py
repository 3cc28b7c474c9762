"""How to run a model on our own machines: one module per engine, workers as processes of their own."""

from penstock.lib.registry import Registry

ENGINES = Registry(
    "engine",
    {
        "llamacpp": "penstock.engines.llamacpp:ENGINE",
        "onnx": "penstock.engines.onnx:ENGINE",
    },
)
