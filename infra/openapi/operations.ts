import type { ADMIN_ROUTES, PUBLIC_ROUTES, ROUTES } from '../../shared/api/route-table.ts';
import { INCLUDES } from '../../shared/openai/responses/includes.ts';
import type { Answers } from './answers.ts';
import type { RequestName } from './requests.ts';

/** A query parameter. */
export interface QueryParameter {
  readonly name: string;
  readonly description: string;
  readonly schema: Readonly<Record<string, unknown>>;
  /** How its values are written, if not as in a form. */
  readonly style?: 'deepObject';
}

/** The description of a route. */
export interface Operation {
  readonly id: string;
  readonly summary: string;
  readonly tag: string;
  readonly body?: RequestName;
  /** True if a request may lack its body. */
  readonly bodyOptional?: true;
  /** True if a request's body may also be a form. */
  readonly bodyMayBeForm?: true;
  readonly example?: Readonly<Record<string, unknown>>;
  readonly query?: readonly QueryParameter[];
  /** Undefined for a route that only refuses, and for the administration's, whose answers are `AdminAnswers`. */
  readonly answer?: keyof Answers;
  /** True if the answer may be a stream of server-sent events. */
  readonly streams?: true;
  /** True if the route takes an `Idempotency-Key`. */
  readonly idempotent?: true;
  /** Statuses of errors besides those that every route has. */
  readonly errors?: readonly number[];
}

type RoutesOf<T> = T extends unknown ? keyof T : never;
/** A route that has its own description. The others are of the administration. */
type DescribedRoute =
  | Exclude<RoutesOf<(typeof ROUTES)[keyof typeof ROUTES]>, keyof typeof ADMIN_ROUTES>
  | (typeof PUBLIC_ROUTES)[number];

const ORDER = { type: 'string', enum: ['asc', 'desc'] };
const PAGE: readonly QueryParameter[] = [
  { name: 'after', description: 'The id of the object that precedes the page.', schema: { type: 'string' } },
  {
    name: 'limit',
    description: 'The number of objects.',
    schema: { type: 'integer', minimum: 1, maximum: 100, default: 20 },
  },
  { name: 'order', description: 'By creation.', schema: ORDER },
];
const INCLUDE: QueryParameter = {
  name: 'include',
  description: 'Optional fields of items.',
  schema: { type: 'array', items: { enum: INCLUDES } },
};

/** What a call of a model may answer, besides the errors of every route. */
const CALL = { errors: [404, 409, 413, 415, 422, 502] } as const;
/** The errors of a route that takes a body and the id of a stored object. */
const STORED = { errors: [404, 409, 413, 415] } as const;

const USER = { role: 'user', content: 'What is Lambent?' };

/** The descriptions of all routes but those of the administration. */
export const OPERATIONS: Readonly<Record<DescribedRoute, Operation>> = {
  'POST /v1/chat/completions': {
    ...CALL,
    id: 'createChatCompletion',
    summary: 'Create a chat completion',
    tag: 'Chat',
    body: 'ChatCompletionRequest',
    example: { model: 'default', messages: [USER] },
    answer: 'ChatCompletion',
    streams: true,
    idempotent: true,
  },
  'POST /v1/responses': {
    ...CALL,
    id: 'createResponse',
    summary: 'Create a response',
    tag: 'Responses',
    body: 'ResponseRequest',
    example: { model: 'default', input: 'What is Lambent?' },
    answer: 'Response',
    streams: true,
    idempotent: true,
  },
  'POST /v1/responses/compact': {
    ...CALL,
    id: 'compactResponse',
    summary: 'Compact a conversation',
    tag: 'Responses',
    body: 'ResponseRequest',
    example: { model: 'default', input: [USER] },
    answer: 'CompactedResponse',
    idempotent: true,
  },
  'POST /v1/responses/input_tokens': {
    ...CALL,
    id: 'countInputTokens',
    summary: 'Estimate the input tokens of a response',
    tag: 'Responses',
    body: 'InputTokensRequest',
    bodyOptional: true,
    example: { model: 'default', input: 'What is Lambent?' },
    answer: 'InputTokens',
  },
  'POST /v1/messages': {
    errors: [...CALL.errors, 529],
    id: 'createMessage',
    summary: "Create a message by Anthropic's API",
    tag: 'Messages',
    body: 'MessageRequest',
    example: { model: 'default', max_tokens: 64, messages: [USER] },
    answer: 'Message',
    streams: true,
    idempotent: true,
  },
  'POST /v1/messages/count_tokens': {
    errors: [...CALL.errors, 529],
    id: 'countMessageTokens',
    summary: 'Estimate the input tokens of a message',
    tag: 'Messages',
    body: 'CountTokensRequest',
    example: { model: 'default', messages: [USER] },
    answer: 'TokenCount',
  },
  'GET /v1/models': { id: 'listModels', summary: 'List the models', tag: 'Models', answer: 'ModelList' },
  'GET /v1/models/{id+}': {
    id: 'retrieveModel',
    summary: 'Retrieve a model',
    tag: 'Models',
    answer: 'Model',
    errors: [404],
  },
  'POST /v1/embeddings': {
    ...CALL,
    id: 'createEmbeddings',
    summary: 'Create embeddings',
    tag: 'Embeddings',
    body: 'EmbeddingRequest',
    example: { model: 'embedding', input: 'What is Lambent?' },
    answer: 'EmbeddingList',
  },
  'POST /v1/moderations': {
    ...CALL,
    id: 'createModeration',
    summary: 'Moderate texts',
    tag: 'Moderations',
    body: 'ModerationRequest',
    example: { model: 'omni-moderation-latest', input: 'What is Lambent?' },
    answer: 'Moderation',
  },
  'POST /v1/conversations': {
    id: 'createConversation',
    summary: 'Create a conversation',
    tag: 'Conversations',
    body: 'ConversationRequest',
    bodyOptional: true,
    example: { items: [USER], metadata: { topic: 'lambent' } },
    answer: 'Conversation',
    idempotent: true,
    errors: [404, 409, 413, 415, 422],
  },
  'GET /v1/conversations/{id}': {
    id: 'retrieveConversation',
    summary: 'Retrieve a conversation',
    tag: 'Conversations',
    answer: 'Conversation',
    errors: [404],
  },
  'POST /v1/conversations/{id}': {
    ...STORED,
    id: 'updateConversation',
    summary: "Replace a conversation's metadata",
    tag: 'Conversations',
    body: 'MetadataRequest',
    example: { metadata: { topic: 'lambent' } },
    answer: 'Conversation',
  },
  'DELETE /v1/conversations/{id}': {
    id: 'deleteConversation',
    summary: 'Delete a conversation with its items',
    tag: 'Conversations',
    answer: 'ConversationDeleted',
    errors: [404, 409],
  },
  'GET /v1/conversations/{id}/items': {
    id: 'listConversationItems',
    summary: "List a conversation's items",
    tag: 'Conversations',
    query: [...PAGE, INCLUDE],
    answer: 'ItemList',
    errors: [404],
  },
  'POST /v1/conversations/{id}/items': {
    id: 'createConversationItems',
    summary: 'Add items to a conversation',
    tag: 'Conversations',
    body: 'ConversationItemsRequest',
    query: [INCLUDE],
    example: { items: [USER] },
    answer: 'ItemList',
    idempotent: true,
    errors: [404, 409, 413, 415, 422],
  },
  'GET /v1/conversations/{id}/items/{item}': {
    id: 'retrieveConversationItem',
    summary: 'Retrieve an item',
    tag: 'Conversations',
    query: [INCLUDE],
    answer: 'Item',
    errors: [404],
  },
  'DELETE /v1/conversations/{id}/items/{item}': {
    id: 'deleteConversationItem',
    summary: 'Delete an item',
    tag: 'Conversations',
    answer: 'Conversation',
    errors: [404, 409],
  },
  'GET /v1/responses': {
    id: 'connectResponses',
    summary: 'Refuse a WebSocket connection',
    tag: 'Responses',
    errors: [426],
  },
  'GET /v1/responses/{id}': {
    id: 'retrieveResponse',
    summary: 'Retrieve a stored response, or resume its stream',
    tag: 'Responses',
    query: [
      INCLUDE,
      { name: 'stream', description: 'Whether to stream the events.', schema: { type: 'boolean', default: false } },
      {
        name: 'starting_after',
        description: 'The sequence number of the last event that is not wanted.',
        schema: { type: 'integer', minimum: 0, maximum: 999_999_999_999_999 },
      },
    ],
    answer: 'Response',
    streams: true,
    errors: [404],
  },
  'DELETE /v1/responses/{id}': {
    id: 'deleteResponse',
    summary: 'Delete a stored response',
    tag: 'Responses',
    answer: 'ResponseDeleted',
    errors: [404, 409],
  },
  'POST /v1/responses/{id}/cancel': {
    ...STORED,
    id: 'cancelResponse',
    summary: 'Cancel a background response',
    tag: 'Responses',
    answer: 'Response',
  },
  'GET /v1/responses/{id}/input_items': {
    id: 'listInputItems',
    summary: "List a response's input items",
    tag: 'Responses',
    query: [...PAGE, INCLUDE],
    answer: 'ItemList',
    errors: [404],
  },
  'GET /v1/chat/completions': {
    id: 'listChatCompletions',
    summary: 'List stored chat completions',
    tag: 'Chat',
    query: [
      ...PAGE,
      { name: 'model', description: 'The model of the completions.', schema: { type: 'string' } },
      {
        name: 'metadata',
        description: 'Metadata that the completions have: `metadata[topic]=lambent`.',
        schema: { type: 'object', additionalProperties: { type: 'string', maxLength: 512 }, maxProperties: 16 },
        style: 'deepObject',
      },
    ],
    answer: 'ChatCompletionList',
    errors: [404],
  },
  'GET /v1/chat/completions/{id}': {
    id: 'retrieveChatCompletion',
    summary: 'Retrieve a stored chat completion',
    tag: 'Chat',
    answer: 'ChatCompletion',
    errors: [404],
  },
  'POST /v1/chat/completions/{id}': {
    ...STORED,
    id: 'updateChatCompletion',
    summary: "Replace a stored chat completion's metadata",
    tag: 'Chat',
    body: 'MetadataRequest',
    example: { metadata: { topic: 'lambent' } },
    answer: 'ChatCompletion',
  },
  'DELETE /v1/chat/completions/{id}': {
    id: 'deleteChatCompletion',
    summary: 'Delete a stored chat completion',
    tag: 'Chat',
    answer: 'ChatCompletionDeleted',
    errors: [404, 409],
  },
  'GET /v1/chat/completions/{id}/messages': {
    id: 'listChatMessages',
    summary: "List a stored chat completion's messages",
    tag: 'Chat',
    query: PAGE,
    answer: 'ChatMessageList',
    errors: [404],
  },
  'POST /v1/oauth/token': {
    id: 'exchangeToken',
    summary: 'Exchange the token of a trusted issuer for an access token',
    tag: 'Tokens',
    body: 'TokenRequest',
    bodyMayBeForm: true,
    example: {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: 'eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    },
    answer: 'Token',
    errors: [413, 415],
  },
};
