// The official clients for node against `penstock up`: every call they have that Penstock answers.
//
//   PENSTOCK_URL=... PENSTOCK_KEY=... node --test sdks.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ApiError, GoogleGenAI } from "@google/genai";
import { APICallError, embedMany, generateText, jsonSchema, Output, streamText } from "ai";
import { CohereClientV2, CohereError } from "cohere-ai";
import { Ollama } from "ollama";
import OpenAI from "openai";

globalThis.AI_SDK_LOG_WARNINGS = false;

const url = process.env.PENSTOCK_URL;
const key = process.env.PENSTOCK_KEY;
const model = "builtin:chat";
const encoder = "builtin:embedding";
const messages = [{ role: "user", content: "Hello!" }];
const schema = {
  type: "object",
  properties: { animal: { type: "string", enum: ["cat", "dog"] }, loud: { type: "boolean" } },
  required: ["animal", "loud"],
  additionalProperties: false,
};

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const gemini = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
const ollama = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
const cohere = new CohereClientV2({ environment: url, token: key, maxRetries: 0 });

async function all(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

function isAnimal(text) {
  const { animal, loud } = JSON.parse(text);
  assert.ok(["cat", "dog"].includes(animal) && typeof loud === "boolean", text);
}

test("openai: chat, whole and streamed", async () => {
  const asked = { model, messages, temperature: 0, max_tokens: 40 };
  const whole = await openai.chat.completions.create(asked);
  const said = whole.choices[0].message.content;
  assert.ok(said);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  const chunks = await all(
    await openai.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }),
  );
  assert.equal(chunks.flatMap((chunk) => chunk.choices.map((one) => one.delta.content ?? "")).join(""), said);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
  const helper = openai.chat.completions.stream(asked);
  assert.equal(await helper.finalContent(), said);
});

test("openai: structured output and tools", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "animal", schema, strict: true } };
  const asked = { model, messages: [{ role: "user", content: "An animal, as JSON." }], temperature: 0 };
  const answer = await openai.chat.completions.create({ ...asked, max_tokens: 100, response_format });
  isAnimal(answer.choices[0].message.content);
  const tools = [{ type: "function", function: { name: "show", parameters: schema } }];
  const called = await openai.chat.completions
    .stream({ ...asked, max_tokens: 100, tools, tool_choice: "required" })
    .finalChatCompletion();
  assert.equal(called.choices[0].finish_reason, "tool_calls");
  isAnimal(called.choices[0].message.tool_calls[0].function.arguments);
});

test("openai: the rest of its calls", async () => {
  const models = await all(await openai.models.list());
  assert.ok(models.some((one) => one.id === model));
  assert.equal((await openai.models.retrieve(model)).id, model);
  const completion = await openai.completions.create({ model, prompt: "Hello", max_tokens: 6 });
  assert.equal(completion.object, "text_completion");
  const embedded = await openai.embeddings.create({ model: encoder, input: ["one", "two"] });
  assert.deepEqual(embedded.data.map((one) => one.embedding.length), [384, 384]);
});

test("openai: responses that are kept, followed and deleted", async () => {
  const first = await openai.responses.create({ model, input: "Hello!", temperature: 0, max_output_tokens: 40 });
  assert.ok(first.output_text);
  const next = await openai.responses
    .stream({ model, input: "And then?", previous_response_id: first.id, max_output_tokens: 40, temperature: 0 })
    .finalResponse();
  assert.equal(next.previous_response_id, first.id);
  assert.equal((await openai.responses.retrieve(first.id)).output_text, first.output_text);
  const items = await all(await openai.responses.inputItems.list(next.id));
  assert.ok(items.length >= 1);
  await openai.responses.delete(first.id);
  await assert.rejects(openai.responses.retrieve(first.id), OpenAI.NotFoundError);
  const behind = await openai.responses.create({
    model,
    input: "Hello!",
    background: true,
    stream: true,
    max_output_tokens: 40,
  });
  const seen = await all(behind);
  assert.equal(seen.at(-1).type, "response.completed");
  const again = await all(
    await openai.responses.retrieve(seen[0].response.id, { stream: true, starting_after: 2 }),
  );
  assert.equal(again[0].sequence_number, 3);
  assert.equal(again.at(-1).type, "response.completed");
  const count = await openai.responses.inputTokens.count({ model, input: "Hello!" });
  assert.ok(count.input_tokens > 0);
});

test("openai: errors are of its classes", async () => {
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  await assert.rejects(openai.chat.completions.create({ model: "none", messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.equal(error.param, "model");
    assert.ok(error.requestID);
    return true;
  });
  await assert.rejects(
    openai.chat.completions.create({ model, messages, temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
  await assert.rejects(openai.responses.create({ model, input: [{ type: "no" }] }), OpenAI.APIError);
});

test("openai: a stream that is left stops", async () => {
  const asked = { model, messages, max_tokens: 400, stream: true, ignore_eos: true };
  const stream = await openai.chat.completions.create(asked);
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
});

test("anthropic: messages, whole and streamed", async () => {
  const asked = { model, messages, max_tokens: 40, temperature: 0 };
  const whole = await anthropic.messages.create(asked);
  assert.equal(whole.type, "message");
  assert.ok(whole.content[0].text);
  assert.ok(whole.usage.input_tokens > 0);
  const stream = anthropic.messages.stream(asked);
  let said = "";
  stream.on("text", (piece) => (said += piece));
  const final = await stream.finalMessage();
  assert.equal(said, final.content[0].text);
  assert.ok(["end_turn", "max_tokens"].includes(final.stop_reason));
});

test("anthropic: tools, structured output and counts", async () => {
  const asked = { model, messages: [{ role: "user", content: "An animal, as JSON." }], max_tokens: 100, temperature: 0 };
  const tools = [{ name: "show", input_schema: schema }];
  const called = await anthropic.messages.create({ ...asked, tools, tool_choice: { type: "any" } });
  assert.equal(called.stop_reason, "tool_use");
  isAnimal(JSON.stringify(called.content.find((block) => block.type === "tool_use").input));
  const shaped = await anthropic.messages.create({
    ...asked,
    output_config: { format: { type: "json_schema", schema } },
  });
  isAnimal(shaped.content[0].text);
  const counted = await anthropic.messages.countTokens({ model, messages });
  assert.ok(counted.input_tokens > 0);
  const models = await all(await anthropic.models.list());
  assert.ok(models.some((one) => one.id === model && one.type === "model"));
});

test("anthropic: errors are of its classes", async () => {
  const stranger = new Anthropic({ baseURL: url, apiKey: "sk-wrong", maxRetries: 0 });
  await assert.rejects(stranger.messages.create({ model, messages, max_tokens: 1 }), Anthropic.AuthenticationError);
  await assert.rejects(anthropic.messages.create({ model: "none", messages, max_tokens: 1 }), (error) => {
    assert.ok(error instanceof Anthropic.NotFoundError);
    assert.equal(error.error.error.type, "not_found_error");
    assert.ok(error.requestID);
    return true;
  });
  await assert.rejects(anthropic.messages.create({ model, messages }), Anthropic.BadRequestError);
});

test("gemini: generate, stream, count, embed, models", async () => {
  const asked = { model, contents: "Hello!", config: { temperature: 0, maxOutputTokens: 40 } };
  const whole = await gemini.models.generateContent(asked);
  assert.ok(whole.text);
  const chunks = await all(await gemini.models.generateContentStream(asked));
  assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), whole.text);
  assert.ok(chunks.at(-1).usageMetadata.totalTokenCount > 0);
  const shaped = await gemini.models.generateContent({
    model,
    contents: "An animal, as JSON.",
    config: {
      responseMimeType: "application/json",
      responseJsonSchema: schema,
      maxOutputTokens: 100,
      temperature: 0,
    },
  });
  isAnimal(shaped.text);
  const counted = await gemini.models.countTokens({ model, contents: "Hello!" });
  assert.ok(counted.totalTokens > 0);
  const embedded = await gemini.models.embedContent({ model: encoder, contents: ["one", "two"] });
  assert.deepEqual(embedded.embeddings.map((one) => one.values.length), [384, 384]);
  const models = await all(await gemini.models.list());
  assert.ok(models.some((one) => one.name === `models/${model}`));
  const chat = gemini.chats.create({ model, config: { maxOutputTokens: 20, temperature: 0 } });
  await chat.sendMessage({ message: "Hello!" });
  assert.ok((await chat.sendMessage({ message: "And then?" })).candidates.length);
});

test("gemini: errors are of its class", async () => {
  await assert.rejects(
    gemini.models.generateContent({ model: "none", contents: "Hello!" }),
    (error) => error instanceof ApiError && error.status === 404 && error.message.includes("NOT_FOUND"),
  );
  const stranger = new GoogleGenAI({ apiKey: "sk-wrong", httpOptions: { baseUrl: url } });
  await assert.rejects(
    stranger.models.generateContent({ model, contents: "Hello!" }),
    (error) => error instanceof ApiError && error.status === 401,
  );
});

test("ollama: chat, generate, embed and what it lists", async () => {
  const options = { temperature: 0, num_predict: 40 };
  const whole = await ollama.chat({ model, messages, options });
  assert.ok(whole.done && whole.message.content && whole.eval_count > 0);
  const pieces = await all(await ollama.chat({ model, messages, options, stream: true }));
  assert.equal(pieces.map((piece) => piece.message.content).join(""), whole.message.content);
  const generated = await ollama.generate({ model, prompt: "An animal, as JSON.", format: schema, options });
  isAnimal(generated.response);
  const embedded = await ollama.embed({ model: encoder, input: ["one", "two"] });
  assert.deepEqual(embedded.embeddings.map((one) => one.length), [384, 384]);
  assert.ok((await ollama.list()).models.some((one) => one.name === model));
  assert.ok((await ollama.show({ model })).details);
  assert.ok(Array.isArray((await ollama.ps()).models));
  assert.ok((await ollama.version()).version);
  await assert.rejects(ollama.chat({ model: "none", messages }), /none/);
});

test("cohere: rerank and embed", async () => {
  const documents = ["Falling water turns the turbine.", "Pour hot water over the leaves and wait."];
  const ranked = await cohere.rerank({ model: "builtin:rerank", query: "How is tea made?", documents, topN: 1 });
  assert.equal(ranked.results[0].index, 1);
  const embedded = await cohere.embed({
    model: encoder,
    texts: ["one", "two"],
    inputType: "search_query",
    embeddingTypes: ["float", "int8"],
  });
  assert.deepEqual(embedded.embeddings.float.map((one) => one.length), [384, 384]);
  assert.equal(embedded.embeddings.int8.length, 2);
  await assert.rejects(
    cohere.rerank({ model: "none", query: "q", documents }),
    (error) => error instanceof CohereError && error.statusCode === 404,
  );
});

const PROVIDERS = {
  "openai-compatible": () =>
    createOpenAICompatible({
      name: "penstock",
      baseURL: `${url}/v1`,
      apiKey: key,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(model),
  "openai chat": () => createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(model),
  "openai responses": () => createOpenAI({ baseURL: `${url}/v1`, apiKey: key })(model),
  anthropic: () => createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(model),
  google: () => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })(model),
};

for (const [name, make] of Object.entries(PROVIDERS)) {
  test(`ai-sdk ${name}: text, stream and object`, async () => {
    const asked = { model: make(), maxOutputTokens: 100, maxRetries: 0, temperature: 0 };
    const whole = await generateText({ ...asked, prompt: "Hello!" });
    assert.ok(whole.text);
    assert.ok(whole.usage.outputTokens > 0);
    const streamed = streamText({ ...asked, prompt: "Hello!" });
    const pieces = await all(streamed.textStream);
    assert.equal(pieces.join(""), await streamed.text);
    assert.ok((await streamed.usage).totalTokens > 0);
    const { output } = await generateText({
      ...asked,
      prompt: "An animal, as JSON.",
      output: Output.object({ schema: jsonSchema(schema) }),
    });
    isAnimal(JSON.stringify(output));
  });
}

test("ai-sdk: embeddings and errors", async () => {
  const provider = createOpenAICompatible({ name: "penstock", baseURL: `${url}/v1`, apiKey: key });
  const { embeddings } = await embedMany({ model: provider.embeddingModel(encoder), values: ["one", "two"] });
  assert.deepEqual(embeddings.map((one) => one.length), [384, 384]);
  await assert.rejects(generateText({ model: provider("none"), prompt: "x", maxRetries: 0 }), (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 404);
    assert.ok(error.message.includes("none"));
    return true;
  });
});
