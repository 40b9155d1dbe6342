import fc from 'fast-check';
import OpenAI from 'openai';

/** Real objects for the ids in generated requests. */
export interface Objects {
  /** Returns the id for the path of a method's request. */
  readonly idFor: (method: readonly string[]) => string;
  /** Returns values of parameters, for `GenerateOptions.values`: ids, and what makes a request valid. */
  readonly values: (method: readonly string[]) => Readonly<Record<string, fc.Arbitrary<unknown>>>;
}

const messages = [{ role: 'user' as const, content: 'Hello' }];
const greeting = { role: 'assistant' as const, content: 'Hello' };

/** Creates a response, a conversation and a chat completion. For a method that deletes or cancels them, they must be new. */
export async function createObjects(baseURL: string, apiKey: string): Promise<Objects> {
  const client = new OpenAI({ baseURL, apiKey });
  const model = 'default';
  const [response, streamed, conversation, chat] = await Promise.all([
    client.responses.create({ model, input: 'Hello', background: true }),
    createStreamedResponse(client),
    client.conversations.create({ items: [{ type: 'message', role: 'user', content: 'Hello' }] }),
    // The clients' type of a stored message has the role `assistant` only.
    client.chat.completions.create({ model, messages: [greeting], store: true }),
  ]);
  const [item] = (await client.conversations.items.list(conversation.id)).data;
  const [inputItem] = (await client.responses.inputItems.list(response.id)).data;
  const [message] = (await client.chat.completions.messages.list(chat.id)).data;
  const after = { inputItems: inputItem?.id, items: item?.id, messages: message?.id };
  return {
    idFor: (method) => {
      const name = method.join('.');
      if (name === 'conversations.items.retrieve' || name === 'conversations.items.delete') return item?.id ?? '';
      if (name === 'responses.retrieve') return streamed;
      if (name.startsWith('responses')) return response.id;
      if (name.startsWith('conversations')) return conversation.id;
      return name.startsWith('chat') ? chat.id : model;
    },
    values: (method) => {
      const resource = method.at(-2) ?? '';
      const isEmbedding = resource === 'embeddings';
      // The clients have no type for the messages of the user that a compacted list has.
      const isCompaction = method.at(-1) === 'compact';
      const last = resource in after ? Reflect.get(after, resource) : chat.id;
      return {
        ...VALUES,
        ...(method[0] === 'messages' && { '^tool_choice': fc.constant({ type: 'none' }) }),
        '^model': fc.constant(isEmbedding ? 'text-embedding-3-small' : model),
        '^messages': fc.constant(messages),
        '^input': fc.constant(isEmbedding ? 'Hello' : isCompaction ? [greeting] : messages),
        '^items': fc.constant([{ type: 'message', role: 'user', content: 'Hello' }]),
        '^after': fc.constant(last),
        '^conversation_id': fc.constant(conversation.id),
        '^conversation': fc.constant(conversation.id),
        '^previous_response_id': fc.constant(response.id),
      };
    },
  };
}

async function createStreamedResponse(client: OpenAI): Promise<string> {
  const body = { model: 'default', input: 'Hello', background: true, stream: true } as const;
  for await (const event of await client.responses.create(body)) {
    if (event.type === 'response.created') return event.response.id;
  }
  throw new Error('The stream has no response');
}

const UNIQUE_NAME = fc.nat().map((number) => `tool_${number}`);

/** Values with which a parameter asks for something that is possible alone. */
const VALUES = {
  '^limit': fc.constant(2),
  '^tool_choice': fc.constant('none'),
  '^modalities': fc.constant(['text']),
  '^stop': fc.constant('x'),
  '^stop_sequences': fc.constant(['x']),
  '^function_call': fc.constant('none'),
  '^logprobs': fc.constant(true),
  '^dimensions': fc.constant(4),
  // Sent as headers.
  '^workspace_id': fc.constant('workspace'),
  '^user_profile_id': fc.constant('profile'),
  'function.name': UNIQUE_NAME,
  'custom.name': UNIQUE_NAME,
  'tools.name': UNIQUE_NAME,
};
