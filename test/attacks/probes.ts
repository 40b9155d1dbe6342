import { randomBytes, randomInt } from 'node:crypto';
import OpenAI from 'openai';
import { OPERATIONS } from '../../infra/openapi/operations.ts';
import { ADMIN_ROUTES, ROUTES } from '../../shared/api/route-table.ts';
import { mapInParallel } from '../../shared/core/map-in-parallel.ts';
import type { Service } from '../end-to-end/service.ts';

/** What a tenant has stored: the ids by the path parameters of each resource, and a word that is in all of it. */
export interface Belongings {
  readonly word: string;
  readonly ids: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Stores one object of each kind. */
export async function createBelongings(service: Service, apiKey: string): Promise<Belongings> {
  const word = `canary${randomBytes(8).toString('hex')}`;
  const client = new OpenAI({ baseURL: service.cloud.url, apiKey, maxRetries: 0 });
  const user = { role: 'user' as const, content: word };
  const [response, conversation, chat] = await Promise.all([
    client.responses.create({ model: 'compatible', input: word }),
    client.conversations.create({ items: [user], metadata: { word } }),
    client.chat.completions.create({ model: 'compatible', messages: [user], metadata: { word }, store: true }),
  ]);
  const [item] = (await client.conversations.items.list(conversation.id)).data;
  const [input] = (await client.responses.inputItems.list(response.id)).data;
  return {
    word,
    ids: {
      '/v1/responses': { id: response.id, item: input?.id ?? '' },
      '/v1/conversations': { id: conversation.id, item: item?.id ?? '' },
      '/v1/chat/completions': { id: chat.id },
    },
  };
}

type Ids = Readonly<Record<string, string>>;

/** A route that takes the ids of a tenant's objects, in its path or its body. */
export interface ProbedRoute {
  /** The route, and the field of its body that has the id. */
  readonly route: string;
  readonly method: string;
  readonly resource: string;
  readonly makeBody?: ((ids: Ids) => unknown) | undefined;
  /** The victim's ids of the route's parameters, or of its body. */
  readonly ids: Ids;
}

/** The resources whose ids belong to no tenant. */
const COMMON = ['/v1/models/{id+}'];

/**
 * Lists all routes that take ids of a tenant's objects. Those of the administration take none.
 * @throws Error for a route whose objects `createBelongings` doesn't make
 */
export function listProbedRoutes({ ids }: Belongings): ProbedRoute[] {
  const routes = Object.values(ROUTES).flatMap((part) => Object.keys(part));
  return routes.flatMap((route) => {
    const [method = '', resource = ''] = route.split(' ');
    if (!resource.includes('{') || COMMON.includes(resource) || route in ADMIN_ROUTES) return [];
    const owner = Object.keys(ids).find((prefix) => resource.startsWith(`${prefix}/`));
    if (owner === undefined) throw new Error(`createBelongings makes no object of ${resource}`);
    const { example } = OPERATIONS[route as keyof typeof OPERATIONS];
    const makeBody = method === 'POST' ? () => example ?? {} : undefined;
    return [{ route, method, resource, makeBody, ids: ids[owner] ?? {} }];
  });
}

/** How a body names an object of another request: the owner of the id, and the fields. */
const REFERENCES: Readonly<Record<string, readonly [owner: string, makeFields: (ids: Ids) => object]>> = {
  previous_response_id: ['/v1/responses', ({ id }) => ({ previous_response_id: id })],
  conversation: ['/v1/conversations', ({ id }) => ({ conversation: id })],
  'conversation.id': ['/v1/conversations', ({ id }) => ({ conversation: { id } })],
  'input[0].id': ['/v1/responses', ({ item }) => ({ input: [{ type: 'item_reference', id: item }] })],
};

/** The routes whose bodies can name objects, and the fields in which they do. */
const REFERRING: Readonly<Record<string, readonly string[]>> = {
  '/v1/responses': ['previous_response_id', 'conversation', 'conversation.id', 'input[0].id'],
  '/v1/responses/compact': ['previous_response_id', 'input[0].id'],
  '/v1/responses/input_tokens': ['previous_response_id', 'conversation', 'conversation.id', 'input[0].id'],
};

/** Lists the routes whose bodies can have ids of a tenant's objects, once for each field. */
export function listProbedBodies({ ids }: Belongings): ProbedRoute[] {
  return Object.entries(REFERRING).flatMap(([resource, fields]) =>
    fields.map((field) => {
      const [owner = '', makeFields] = REFERENCES[field] ?? [];
      const makeBody = (each: Ids) => ({ model: 'compatible', input: 'Hi', ...makeFields?.(each) });
      return { route: `POST ${resource}, ${field}`, method: 'POST', resource, makeBody, ids: ids[owner] ?? {} };
    }),
  );
}

/** A request and its answer. */
interface Answer {
  readonly request: string;
  readonly status: number;
  /** The body without the ids of the request. */
  readonly text: string;
}

/** Requests at a time. */
const PARALLEL = 8;

/**
 * Sends a route requests with the victim's ids, with random ones, and with ones that are like the victim's.
 * @param count the number of requests
 * @returns the answers that are no error or have the victim's word, and the one to the victim's ids if it differs from
 * that to random ids
 */
export async function probe(
  url: string,
  apiKey: string,
  { method, resource, makeBody, ids }: ProbedRoute,
  { word }: Belongings,
  count: number,
): Promise<Answer[]> {
  const send = async (values: Ids, attempts = 3): Promise<Answer> => {
    const path = resource.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ''));
    const response = await fetch(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      ...(makeBody === undefined ? {} : { body: JSON.stringify(makeBody(values)) }),
    });
    // A machine that is too busy to start a function in time answers 500.
    if (response.status >= 500 && attempts > 1) {
      await response.text();
      return send(values, attempts - 1);
    }
    const text = Object.values(values).reduce((all, id) => all.replaceAll(id, '…'), await response.text());
    return { request: `${method} ${path} ${JSON.stringify(makeBody?.(values) ?? '')}`, status: response.status, text };
  };
  const guesses = Array.from({ length: Math.max(0, count - 2) }, (_, index) =>
    mapIds(ids, index % 4 === 0 ? vary : randomize),
  );
  const [random, real] = await Promise.all([send(mapIds(ids, randomize)), send(ids)]);
  const answers = [random, real, ...(await mapInParallel(guesses, PARALLEL, (values) => send(values)))];
  const isDistinct = real.status !== random.status || real.text !== random.text;
  return [
    ...answers.filter(({ status, text }) => (status !== 404 && status !== 400) || text.includes(word)),
    ...(isDistinct ? [real] : []),
  ];
}

function mapIds(ids: Ids, change: (id: string) => string): Ids {
  return Object.fromEntries(Object.entries(ids).map(([name, id]) => [name, change(id)]));
}

/** Returns another id of the same form. */
function randomize(id: string): string {
  const [, prefix = '', digits = ''] = /^(.*_|.*-)(\w+)$/.exec(id) ?? [];
  return prefix + randomBytes(digits.length).toString('hex').slice(0, digits.length);
}

const VARIATIONS: readonly ((id: string) => string)[] = [
  (id) => id.toUpperCase(),
  (id) => `${id} `,
  (id) => `${id}\0`,
  (id) => `${id}#`,
  (id) => `./${id}`,
  (id) => `../responses/${id}`,
  (id) => `${id}?x=${id}`,
  (id) => encodeURIComponent(encodeURIComponent(`/${id}`)),
  (id) => id.slice(0, -1),
  (id) => id.replace('_', '__'),
  (id) => id.repeat(3),
  (id) => `["${id}"]`,
];

function vary(id: string): string {
  return VARIATIONS[randomInt(VARIATIONS.length)]?.(id) ?? id;
}
