"""The engines' libraries without Penstock around them, for `bench.suites.engines`; a process of its own.

    python -m bench.direct llamacpp MODEL.gguf THREADS PARALLEL CONTEXT
    python -m bench.direct onnx FOLDER THREADS MAX_INPUT_TOKENS

The first line on stdout says that the model is loaded, with the address of the library's own HTTP server if it
has one. Then each line on stdin is a job, answered by a line on stdout; end of file on stdin ends it.
llama.cpp gets the parameters that decide the work (threads, sequences, context) and the library's defaults for
everything else, so that a setting of ours that costs speed shows.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Job = Callable[[dict[str, Any]], dict[str, Any]]


def main() -> None:
    job, said = llamacpp(sys.argv[2:]) if sys.argv[1] == "llamacpp" else onnx(sys.argv[2:])
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        print(json.dumps(job(json.loads(line))), flush=True)
    os._exit(0)  # llama.cpp's destructors would wait for idle slots


def llamacpp(arguments: Sequence[str]) -> tuple[Job, dict[str, Any]]:
    """Jobs are {bodies}: one list of chat requests per stream, each stream in a thread, by the callback."""
    import xllamacpp

    threads, parallel, context = (int(number) for number in arguments[1:])
    params = xllamacpp.CommonParams()
    params.model.path = arguments[0]
    params.n_ctx, params.n_parallel = context * parallel, parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.verbosity = 1  # the default writes lines for every request into our pipe
    server = xllamacpp.Server(params)

    def job(asked: dict[str, Any]) -> dict[str, Any]:
        waits: list[tuple[int, float]] = []
        counts: list[int] = []

        def stream(bodies: Sequence[Any]) -> None:
            for number, body in enumerate(bodies):
                began, first, last = time.perf_counter(), 0.0, ""

                def heard(event: str) -> bool:
                    nonlocal first, last
                    if not first and '"content":"' in event:
                        first = time.perf_counter()
                    last = event
                    return False  # go on

                server.handle_chat_completions(json.dumps(body), heard)
                waits.append((number, first - began))
                counts.append(json.loads(last)["usage"]["completion_tokens"])

        streams = [threading.Thread(target=stream, args=(bodies,)) for bodies in asked["bodies"]]
        began, cpu = time.perf_counter(), time.process_time()
        for one in streams:
            one.start()
        for one in streams:
            one.join()
        return {
            "wall_s": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
            "tokens": sum(counts),
            "waits": waits,
        }

    return job, {"url": server.listening_address}


def onnx(arguments: Sequence[str]) -> tuple[Job, dict[str, Any]]:
    """Jobs are {bodies}: embedding and rerank requests, one after another, to the vectors or scores."""
    os.environ.setdefault("RAYON_NUM_THREADS", arguments[1])
    from penstock.engines.onnx_encoder import load, run_to_end

    encoder = load(Path(arguments[0]), threads=int(arguments[1]), max_input_tokens=int(arguments[2]))

    def job(asked: dict[str, Any]) -> dict[str, Any]:
        began, cpu = time.perf_counter(), time.process_time()
        for body in asked["bodies"]:
            if "documents" in body:
                run_to_end(encoder.rerank(body["query"], body["documents"]))
            else:
                texts = body["input"]
                run_to_end(encoder.embed([texts] if isinstance(texts, str) else texts))
        return {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}

    return job, {}


if __name__ == "__main__":
    main()
