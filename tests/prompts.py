"""Forty questions as people ask them, half of them for a small model; and others, as a classifier's examples.

Not all are easy to tell: some easy ones are long, ask to explain or speak of Python, and some hard ones say
nothing that shows it.
"""

EASY = (
    "What is the capital of Portugal?",
    "Translate 'good morning' into Italian.",
    "Explain in two sentences what a noun is, for a six-year-old.",
    "What does len() do in Python?",
    "How many days has February if it is a leap year?",
    "Write a short birthday greeting for my aunt.",
    ("Summarise in one sentence: The meeting was moved from Tuesday to Thursday because the room was taken."),
    "Is a tomato a fruit or a vegetable?",
    "Who wrote Pride and Prejudice?",
    "Turn this into a polite e-mail: send me the invoice, it is late.",
    "Plan a birthday party for a child of five: three games, please.",
    "What does the abbreviation RSVP mean?",
    "Why is the sky blue? One sentence, please.",
    "Fix the spelling: I recieved teh package yesterday and it was damged.",
    "Hello! How are you today?",
    "Was ist die Hauptstadt von Österreich?",
    "Wie sagt man 'danke' auf Spanisch?",
    "你好，请问今天星期几？",
    "把“谢谢”翻译成英文。",
    (
        "I am having six friends over for dinner on Saturday, two of them do not eat meat and one "
        "cannot have nuts. We have a small oven, a barbecue and not much time because we come back "
        "from a hike at five. Please suggest one main dish, one salad and one dessert, with a line "
        "each about why our guests would like them."
    ),
)

HARD = (
    "White: Kd6, Qh2. Black: Ke8, pawn a2, Black to move. Who wins, and how?",
    "Prove that every bounded monotone sequence converges, and say where completeness is used.",
    (
        "My asyncio service deadlocks under load. Here is the code:\n```python\nasync def "
        "worker(queue, lock):\n    async with lock:\n        item = await queue.get()\n        await "
        "handle(item)\n```\nFind the root cause and fix it without losing the ordering guarantee."
    ),
    (
        "Design a rate limiter for an API that runs in three regions. Compare at least two "
        "algorithms, discuss consistency and clock skew, and justify your choice."
    ),
    "Find all integer solutions of x^2 - 7y^2 = 1 with x < 1000.",
    (
        "Write a Rust function that parses RFC 3339 timestamps without allocation and explain its "
        "worst-case cost."
    ),
    (
        "Three boxes are labelled wrongly: apples, oranges, both. You may draw one fruit from one "
        "box. Which box do you choose, and how do you infer the right labels? Reason step by step."
    ),
    "Derive the gradient of softmax cross-entropy with respect to the logits and show that it is p - y.",
    (
        "My tenant has paid nothing since March and says that the boiler has been broken since "
        "January. What can each of us claim, what does it depend on, and what should I do first so "
        "as not to lose my position?"
    ),
    (
        "Refactor this SQL so that it does not scan the whole table: SELECT * FROM orders o WHERE "
        "EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND date(i.created) = '2026-01-01');"
    ),
    (
        "Given n points in the plane, give an O(n log n) algorithm for the closest pair and prove "
        "that it is correct."
    ),
    (
        "A bat and a ball cost 1.10 together and the bat costs 1 more than the ball. Explain why "
        "most people answer wrongly, and design an experiment that separates the two explanations."
    ),
    "1, 11, 21, 1211, 111221: what comes next, and can a 4 ever appear?",
    (
        "Why does this TypeScript generic infer unknown instead of T?\n```ts\nfunction pick<T, K "
        "extends keyof T>(o: T, ...k: K[]): Pick<T, K> { return k.reduce((a, x) => ({...a, [x]: "
        "o[x]}), {} as any); }\n```"
    ),
    (
        "Plan the migration of a 4 TB PostgreSQL database to a new major version with under five "
        "minutes of downtime; list the risks, the rollback at each step and what you would "
        "rehearse."
    ),
    (
        "Two trains leave at different times; if the first is 20 % slower than planned and the "
        "second 15 % faster, under what conditions do they still meet before the tunnel? Derive the "
        "inequality."
    ),
    (
        "Beweise, dass es unendlich viele Primzahlen gibt, und erkläre, warum der Beweis kein "
        "Verfahren liefert."
    ),
    (
        "Vergleiche Raft und Paxos hinsichtlich der Verfügbarkeit bei Netzwerkteilung und begründe "
        "deine Bewertung."
    ),
    "请证明：对任意正整数n，1到n的立方和等于(1到n的和)的平方，并逐步推导。",
    (
        "分析这段代码的时间复杂度并优化：for i in range(n): "
        "for j in range(n): if a[i]+a[j]==k: res.append((i,j))"
    ),
)

EASY_EXAMPLES = (
    "What is the largest city in Spain?",
    "Translate 'see you tomorrow' into French.",
    "Write a friendly reply to this invitation.",
    "Correct the spelling of this sentence.",
    "Who painted the Mona Lisa?",
    "Suggest a name for a cat.",
    "What does ASAP mean?",
    "Summarise this note in one line.",
)

HARD_EXAMPLES = (
    "Prove that there are infinitely many primes of the form 4k + 3.",
    "Find the race condition in this Go program and fix it.",
    "Design a distributed lock service and discuss its failure modes.",
    "Solve the differential equation y'' + 4y = sin(x) step by step.",
    "Compare two architectures for event sourcing and justify your recommendation.",
    "Explain why this recursive query is slow and rewrite it.",
    "Analyse the argument and find its hidden assumptions.",
    "Implement a lock-free queue in C++ and argue that it is correct.",
)
