import { tokenRequestSchema } from '../../shared/access/federation/exchange.ts';
import { countTokensSchema, messagesRequestSchema } from '../../shared/anthropic/schema.ts';
import { chatRequestSchema } from '../../shared/openai/chat/schema.ts';
import {
  createConversationBody,
  createItemsBody,
  updateConversationBody,
} from '../../shared/openai/conversations/schema.ts';
import { embeddingRequestSchema } from '../../shared/openai/embeddings/request.ts';
import { moderationRequestSchema } from '../../shared/openai/moderations/request.ts';
import { optional } from '../../shared/openai/parameters.ts';
import { inputItem } from '../../shared/openai/responses/items.ts';
import { responsesParameters } from '../../shared/openai/responses/schema.ts';
import { tool } from '../../shared/openai/responses/tools.ts';
import { object } from '../../shared/openai/schema.ts';

const withoutInput = { ...responsesParameters, input: optional(responsesParameters.input) };

/** The schemas of request bodies, and of what several of them have, by the names of their components. */
export const REQUESTS = {
  ChatCompletionRequest: chatRequestSchema,
  // A response that continues another one needs no input.
  ResponseRequest: object(withoutInput),
  InputTokensRequest: object({ ...withoutInput, model: optional(responsesParameters.model) }),
  InputItem: inputItem,
  ResponseTool: tool,
  ResponseToolChoice: responsesParameters.tool_choice,
  ResponseText: responsesParameters.text,
  ResponseReasoning: responsesParameters.reasoning,
  ModerationSettings: responsesParameters.moderation,
  MessageRequest: messagesRequestSchema,
  CountTokensRequest: countTokensSchema,
  MessageInput: messagesRequestSchema.entries.messages,
  MessageSystem: messagesRequestSchema.entries.system,
  MessageThinking: messagesRequestSchema.entries.thinking,
  MessageTools: messagesRequestSchema.entries.tools,
  MessageOutputConfig: messagesRequestSchema.entries.output_config,
  MessageContextManagement: messagesRequestSchema.entries.context_management,
  EmbeddingRequest: embeddingRequestSchema,
  ModerationRequest: moderationRequestSchema,
  ConversationRequest: createConversationBody,
  ConversationItemsRequest: createItemsBody,
  // Also that of stored chat completions.
  MetadataRequest: updateConversationBody,
  TokenRequest: tokenRequestSchema,
};

/** The components that are bodies. */
export type RequestName = Extract<keyof typeof REQUESTS, `${string}Request`>;
