import type { MessageTokensCount } from '@anthropic-ai/sdk/resources/messages';
import type { ModelInfo } from '@anthropic-ai/sdk/resources/models';
import type { Model } from 'openai/resources/models';
import type { ResponseOutputItem } from 'openai/resources/responses/responses';
import type { TokenResponse } from '../../shared/access/federation/exchange.ts';
import type { encodeAssignedRole } from '../../shared/admin/roles.ts';
import type { MessagesErrorBody } from '../../shared/anthropic/errors.ts';
import type { MessageObject } from '../../shared/anthropic/message.ts';
import type { ModelPage } from '../../shared/anthropic/models.ts';
import type { ChatCompletionObject } from '../../shared/openai/chat/completion.ts';
import type { EmbeddingResponse } from '../../shared/openai/embeddings/response.ts';
import type { ErrorBody } from '../../shared/openai/errors.ts';
import type { ModerationResponse } from '../../shared/openai/moderations/response.ts';
import type { ResponseObject } from '../../shared/openai/responses/response.ts';
import type { AdminAnswers } from './admin-answers.ts';

/** The output items that this service makes itself. An upstream that answers in the caller's protocol may have others. */
type OwnItem = 'message' | 'function_call' | 'custom_tool_call' | 'tool_search_call' | 'reasoning' | 'compaction';
/** What a response repeats of its request, which describes it. */
type Repeated = 'tools' | 'tool_choice' | 'text' | 'reasoning' | 'instructions' | 'prompt' | 'moderation';

interface Page<T> {
  readonly object: 'list';
  readonly data: readonly T[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

interface Deleted<Name extends string> {
  readonly id: string;
  readonly object: Name;
  readonly deleted: true;
}

interface Item {
  readonly id: string;
  readonly type: string;
}

/** The JSON of answers by the names of their components: the types of the code that encodes them. */
export interface Answers {
  readonly Error: ErrorBody;
  // API Gateway's own errors lack the id.
  readonly MessagesError: Omit<MessagesErrorBody, 'request_id'> & Partial<Pick<MessagesErrorBody, 'request_id'>>;
  // API Gateway's own errors have OpenAI's form.
  readonly TokenError: { readonly error: string; readonly error_description: string } | ErrorBody;
  readonly ChatCompletion: ChatCompletionObject;
  readonly ChatCompletionList: Page<ChatCompletionObject>;
  readonly ChatCompletionDeleted: Deleted<'chat.completion.deleted'>;
  readonly ChatMessageList: Page<{ id: string; role: string; content: string | null }>;
  readonly Response: Omit<ResponseObject, 'output' | Repeated> & {
    readonly output: readonly (Extract<ResponseOutputItem, { type: OwnItem }> | Item)[];
  } & { readonly [K in Repeated]?: unknown };
  readonly ResponseDeleted: Deleted<'response'>;
  readonly CompactedResponse: {
    readonly id: string;
    readonly object: 'response.compaction';
    readonly created_at: number;
    readonly output: readonly Item[];
    readonly usage: ResponseObject['usage'];
  };
  readonly InputTokens: { readonly object: 'response.input_tokens'; readonly input_tokens: number };
  readonly Item: Item;
  readonly ItemList: Page<Item>;
  readonly Conversation: {
    readonly id: string;
    readonly object: 'conversation';
    readonly created_at: number;
    readonly metadata: Readonly<Record<string, string>>;
  };
  readonly ConversationDeleted: Deleted<'conversation.deleted'>;
  readonly EmbeddingList: EmbeddingResponse;
  readonly Moderation: ModerationResponse;
  readonly OpenAiModel: Model;
  readonly AnthropicModel: ModelInfo;
  readonly Model: Model | ModelInfo;
  readonly ModelList: { readonly object: 'list'; readonly data: readonly Model[] } | ModelPage;
  readonly Message: Omit<MessageObject, 'content' | 'usage' | 'container'> & {
    readonly content: readonly { readonly type: string }[];
    readonly usage: Pick<MessageObject['usage'], 'input_tokens' | 'output_tokens'>;
  };
  readonly TokenCount: MessageTokensCount;
  readonly Token: TokenResponse;
  // Parts of answers of the administration that have no field `object` to be named by.
  readonly AssignedRole: ReturnType<typeof encodeAssignedRole>;
  readonly EmptyUsage: AdminAnswers['GET /v1/organization/usage/images'];
}
