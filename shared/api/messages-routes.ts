import type { Route } from '../access/route.ts';
import type { GenerationApi } from './generation-api.ts';

// The code of these routes is loaded with their first request, so that chats and responses start without it.

/** Creates the route `POST /v1/messages`. */
export function messagesRoute(api: GenerationApi): Route {
  return {
    run: async (request) => (await import('./create-message.ts')).createMessage(request, api),
  };
}

/** Creates the route `POST /v1/messages/count_tokens`. */
export function countTokensRoute(api: Pick<GenerationApi, 'registry'>): Route {
  return {
    run: async (request) => (await import('./create-message.ts')).countTokens(request, api),
  };
}

/** Returns whether a request comes from a client of Anthropic's API, which the version of that API shows. */
export function isAnthropicRequest(headers: Readonly<Record<string, string>>): boolean {
  return headers['anthropic-version'] !== undefined;
}

/** Loads the format of errors and headers for clients of Anthropic's API. Returns undefined for other requests. */
export function loadMessagesFormat(resource: string, headers: Readonly<Record<string, string>>) {
  const isMessages = resource.startsWith('/v1/messages') || isAnthropicRequest(headers);
  return isMessages ? import('./messages-format.ts').then(({ MESSAGES_FORMAT }) => MESSAGES_FORMAT) : undefined;
}
