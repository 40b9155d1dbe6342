import { createServer, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { listen } from '../../../local/listen.ts';

/** A response: JSON, or XML for the services with the query protocol. */
export interface Answer {
  /** Default: 200. */
  readonly status?: number;
  /** Type of an error. */
  readonly error?: string;
  readonly message?: string;
  /** XML of S3. */
  readonly xml?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object | string;
}

/** The parameters of a request: the JSON body, the form's fields, the query, or `xml` for a body of S3. */
export type Parameters = Readonly<Record<string, unknown>>;

/**
 * Answers requests by operation: the name in `X-Amz-Target` or of the query protocol's `Action`, else method and path,
 * as `GET /2016-08-19/account-settings`.
 */
export type Operations = Readonly<Record<string, (parameters: Parameters) => Answer>>;

export interface AwsStandIn {
  readonly clientConfig: {
    readonly endpoint: string;
    readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  };
  /** The operations that were requested, in order. */
  readonly requested: string[];
  close(): Promise<void>;
}

/** Starts a stand-in for the AWS services that moto does not have. An operation without an answer fails with 501. */
export async function startAws(operations: Operations): Promise<AwsStandIn> {
  const requested: string[] = [];
  const server = createServer(async (request, response) => {
    const { operation, parameters, isQuery } = await readRequest(request);
    requested.push(operation);
    const unknown: Answer = { status: 501, error: 'NotImplemented', message: operation };
    const answer = operations[operation]?.(parameters) ?? unknown;
    const { status, error, message = '', xml, headers = {}, body = {} } = answer;
    response.setHeaders(new Map(Object.entries(headers)));
    response.statusCode = status ?? (error === undefined ? 200 : 400);
    if (error !== undefined) response.setHeader('x-amzn-errortype', error);
    response.setHeader('content-type', isQuery ? 'text/xml' : 'application/x-amz-json-1.1');
    if (xml !== undefined) response.end(xml);
    else if (isQuery)
      response.end(error === undefined ? wrapResult(operation, String(body)) : formatXmlError(error, message));
    else response.end(JSON.stringify(error === undefined ? body : { __type: error, message }));
  });
  const { port, close } = await listen(server, { port: 0 });
  return {
    clientConfig: {
      endpoint: `http://127.0.0.1:${port}`,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    },
    requested,
    close,
  };
}

async function readRequest(request: IncomingMessage) {
  const body = await text(request);
  const target =
    String(request.headers['x-amz-target'] ?? '')
      .split('.')
      .at(-1) ?? '';
  const isQuery = String(request.headers['content-type']).startsWith('application/x-www-form-urlencoded');
  if (isQuery) {
    const parameters = Object.fromEntries(new URLSearchParams(body));
    return { operation: parameters['Action'] ?? '', parameters, isQuery };
  }
  const url = new URL(request.url ?? '/', 'http://localhost');
  const path = decodeURIComponent(url.pathname);
  const parameters: Parameters =
    body === '' ? Object.fromEntries(url.searchParams) : body.startsWith('<') ? { xml: body } : JSON.parse(body);
  return { operation: target || `${request.method} ${path}`, parameters, isQuery };
}

const wrapResult = (operation: string, xml: string): string =>
  `<${operation}Response><${operation}Result>${xml}</${operation}Result></${operation}Response>`;

const formatXmlError = (code: string, message: string): string =>
  `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`;
