// An agent's loop in every official client for node, and in the Vercel AI SDK with each of its providers:
// it asks, runs the tools that are called, and asks again. As tests/walk/agents.py, and with its questions.
//
//   node agents.mjs <url> <key> <turns>      one line of JSON for each client and way of answering

import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { GoogleGenAI } from "@google/genai";
import { generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";

globalThis.AI_SDK_LOG_WARNINGS = false;

const SCHEMA = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
};
const TOOLS = { add: "Adds two numbers: a + b.", subtract: "Subtracts two numbers: a - b." };
const SYSTEM = "You calculate with the tools you have.";

const question = (turn) =>
  turn % 5 === 4
    ? `Tell me how far we are after ${turn} rounds.`
    : `Use add to compute ${turn} + ${turn + 1}.`;
const run = (name, { a, b }) => String(name === "add" ? a + b : a - b);
const declared = (make) => Object.entries(TOOLS).map(([name, description]) => make(name, description));

class Agent {
  constructor(url, key, stream) {
    Object.assign(this, { url, key, stream, calls: 0, thoughts: 0 });
  }

  async converse(turns) {
    const said = [];
    for (let turn = 0; turn < turns; turn++) {
      this.ask(question(turn));
      let text = "";
      for (let round = 0; round < 4; round++) {
        const step = await this.step();
        text = step.text;
        if (step.calls.length === 0) break;
        this.calls += step.calls.length;
        this.answer(step.calls.map(([id, name, args]) => [id, name, run(name, args)]));
      }
      said.push(text);
    }
    return said;
  }
}

class Chat extends Agent {
  client = new OpenAI({ baseURL: `${this.url}/v1`, apiKey: this.key, maxRetries: 0 });
  messages = [{ role: "system", content: SYSTEM }];
  tools = declared((name, description) => ({
    type: "function",
    function: { name, description, parameters: SCHEMA },
  }));

  ask(content) {
    this.messages.push({ role: "user", content });
  }

  async step() {
    const wanted = { model: "m", messages: this.messages, tools: this.tools, reasoning_effort: "low" };
    const completions = this.client.chat.completions;
    const answer = this.stream
      ? await completions.stream(wanted).finalChatCompletion()
      : await completions.create(wanted);
    const { message } = answer.choices[0];
    this.thoughts += message.reasoning_content ? 1 : 0;
    const calls = message.tool_calls ?? [];
    this.messages.push({ role: "assistant", content: message.content, ...(calls.length && { tool_calls: calls }) });
    return {
      text: message.content ?? "",
      calls: calls.map((call) => [call.id, call.function.name, JSON.parse(call.function.arguments)]),
    };
  }

  answer(results) {
    for (const [id, , content] of results) this.messages.push({ role: "tool", tool_call_id: id, content });
  }
}

class Responses extends Agent {
  client = new OpenAI({ baseURL: `${this.url}/v1`, apiKey: this.key, maxRetries: 0 });
  input = [];
  tools = declared((name, description) => ({
    type: "function",
    name,
    description,
    parameters: SCHEMA,
    strict: false,
  }));

  ask(content) {
    this.input.push({ role: "user", content });
  }

  async step() {
    const wanted = {
      model: "m",
      instructions: SYSTEM,
      input: this.input,
      tools: this.tools,
      store: false,
      include: ["reasoning.encrypted_content"],
      reasoning: { effort: "low", summary: "auto" },
    };
    const response = this.stream
      ? await this.client.responses.stream(wanted).finalResponse()
      : await this.client.responses.create(wanted);
    this.thoughts += response.output.some((item) => item.type === "reasoning") ? 1 : 0;
    for (const item of response.output) {
      const { parsed_arguments: _, ...kept } = item;
      this.input.push(kept);
    }
    const calls = response.output.filter((item) => item.type === "function_call");
    return {
      text: response.output_text,
      calls: calls.map((call) => [call.call_id, call.name, JSON.parse(call.arguments)]),
    };
  }

  answer(results) {
    for (const [id, , output] of results) {
      this.input.push({ type: "function_call_output", call_id: id, output });
    }
  }
}

class Claude extends Agent {
  client = new Anthropic({ baseURL: this.url, apiKey: this.key, maxRetries: 0 });
  messages = [];
  tools = declared((name, description) => ({ name, description, input_schema: SCHEMA }));

  ask(text) {
    const block = { type: "text", text };
    if (this.messages.at(-1)?.role === "user") this.messages.at(-1).content.push(block);
    else this.messages.push({ role: "user", content: [block] });
  }

  async step() {
    const wanted = {
      model: "m",
      max_tokens: 4096,
      system: [{ type: "text", text: SYSTEM, cache_control: { type: "ephemeral" } }],
      messages: this.messages,
      tools: this.tools,
      thinking: { type: "enabled", budget_tokens: 2048 },
    };
    const message = this.stream
      ? await this.client.messages.stream(wanted).finalMessage()
      : await this.client.messages.create(wanted);
    this.thoughts += message.content.some((block) => block.type === "thinking") ? 1 : 0;
    this.messages.push({ role: "assistant", content: message.content });
    return {
      text: message.content.filter((block) => block.type === "text").map((block) => block.text).join(""),
      calls: message.content
        .filter((block) => block.type === "tool_use")
        .map((block) => [block.id, block.name, block.input]),
    };
  }

  answer(results) {
    this.messages.push({
      role: "user",
      content: results.map(([id, , content]) => ({ type: "tool_result", tool_use_id: id, content })),
    });
  }
}

class Gemini extends Agent {
  client = new GoogleGenAI({ apiKey: this.key, httpOptions: { baseUrl: this.url } });
  contents = [];
  config = {
    systemInstruction: SYSTEM,
    tools: [
      {
        functionDeclarations: declared((name, description) => ({
          name,
          description,
          parametersJsonSchema: SCHEMA,
        })),
      },
    ],
    thinkingConfig: { includeThoughts: true, thinkingBudget: 2048 },
  };

  ask(text) {
    this.contents.push({ role: "user", parts: [{ text }] });
  }

  async step() {
    const wanted = { model: "m", contents: this.contents, config: this.config };
    const parts = [];
    if (this.stream) {
      for await (const chunk of await this.client.models.generateContentStream(wanted)) {
        parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
      }
    } else {
      const answer = await this.client.models.generateContent(wanted);
      parts.push(...(answer.candidates[0].content.parts ?? []));
    }
    this.thoughts += parts.some((part) => part.thought) ? 1 : 0;
    this.contents.push({ role: "model", parts });
    const calls = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
    return {
      text: parts.filter((part) => part.text && !part.thought).map((part) => part.text).join(""),
      calls: calls.map((call) => [call.id, call.name, call.args]),
    };
  }

  answer(results) {
    this.contents.push({
      role: "user",
      parts: results.map(([id, name, result]) => ({ functionResponse: { id, name, response: { result } } })),
    });
  }
}

class OllamaChat extends Agent {
  client = new Ollama({ host: this.url, headers: { Authorization: `Bearer ${this.key}` } });
  messages = [{ role: "system", content: SYSTEM }];
  tools = declared((name, description) => ({
    type: "function",
    function: { name, description, parameters: SCHEMA },
  }));

  ask(content) {
    this.messages.push({ role: "user", content });
  }

  async step() {
    const wanted = { model: "m", messages: this.messages, tools: this.tools, think: true };
    const message = { role: "assistant", content: "", thinking: "", tool_calls: [] };
    const answers = this.stream
      ? await this.client.chat({ ...wanted, stream: true })
      : [await this.client.chat({ ...wanted, stream: false })];
    for await (const { message: piece } of answers) {
      message.content += piece.content;
      message.thinking += piece.thinking ?? "";
      message.tool_calls.push(...(piece.tool_calls ?? []));
    }
    this.thoughts += message.thinking ? 1 : 0;
    this.messages.push(message);
    const calls = message.tool_calls.map((call) => call.function);
    return { text: message.content, calls: calls.map((call) => ["", call.name, call.arguments]) };
  }

  answer(results) {
    for (const [, name, content] of results) this.messages.push({ role: "tool", tool_name: name, content });
  }
}

class Vercel extends Agent {
  // The AI SDK runs the tools by itself.
  messages = [];
  tools = Object.fromEntries(
    declared((name, description) => [
      name,
      tool({
        description,
        inputSchema: jsonSchema(SCHEMA),
        execute: (given) => {
          this.calls++;
          return run(name, given);
        },
      }),
    ]),
  );

  ask(content) {
    this.messages.push({ role: "user", content });
  }

  async step() {
    const wanted = {
      model: this.model(),
      instructions: SYSTEM,
      messages: this.messages,
      tools: this.tools,
      maxOutputTokens: 4096,
      stopWhen: isStepCount(4),
      maxRetries: 0,
      providerOptions: this.options,
    };
    let result;
    if (this.stream) {
      result = streamText(wanted);
      for await (const part of result.stream) if (part.type === "error") throw part.error;
    } else {
      result = await generateText(wanted);
    }
    const steps = await result.steps;
    this.thoughts += steps.some((step) => step.reasoning.length > 0) ? 1 : 0;
    this.messages.push(...(await result.responseMessages));
    return { text: await result.text, calls: [] };
  }
}

class VercelCompatible extends Vercel {
  options = { penstock: { reasoningEffort: "low" } };
  model() {
    return createOpenAICompatible({ name: "penstock", baseURL: `${this.url}/v1`, apiKey: this.key })("m");
  }
}

class VercelResponses extends Vercel {
  options = {
    openai: {
      store: false,
      forceReasoning: true,
      reasoningEffort: "low",
      reasoningSummary: "auto",
      include: ["reasoning.encrypted_content"],
    },
  };
  model() {
    return createOpenAI({ baseURL: `${this.url}/v1`, apiKey: this.key }).responses("m");
  }
}

class VercelClaude extends Vercel {
  options = { anthropic: { thinking: { type: "enabled", budgetTokens: 2048 } } };
  model() {
    return createAnthropic({ baseURL: `${this.url}/v1`, apiKey: this.key })("m");
  }
}

class VercelGemini extends Vercel {
  options = { google: { thinkingConfig: { includeThoughts: true, thinkingBudget: 2048 } } };
  model() {
    return createGoogleGenerativeAI({ baseURL: `${this.url}/v1beta`, apiKey: this.key })("m");
  }
}

const AGENTS = {
  openai: Chat,
  responses: Responses,
  anthropic: Claude,
  gemini: Gemini,
  ollama: OllamaChat,
  "ai-sdk openai-compatible": VercelCompatible,
  "ai-sdk openai": VercelResponses,
  "ai-sdk anthropic": VercelClaude,
  "ai-sdk google": VercelGemini,
};

const [url, key, turns] = process.argv.slice(2);
for (const [client, kind] of Object.entries(AGENTS)) {
  for (const stream of [true, false]) {
    const agent = new kind(url, key, stream);
    let said = [];
    let error = null;
    try {
      said = await agent.converse(Number(turns));
    } catch (exc) {
      error = `${exc.stack}\n${exc.responseBody ?? ""}`;
    }
    console.log(JSON.stringify({ client, stream, said, calls: agent.calls, thoughts: agent.thoughts, error }));
  }
}
