/** An `AWS::ApiGateway::GatewayResponse` resource. */
export interface GatewayResponseDefinition {
  readonly responseType: string;
  readonly statusCode: number | undefined;
  /** Templates of the body, by content type. */
  readonly templates: Readonly<Record<string, string>>;
  /** Keys are `gatewayresponse.header.Name`. Values are `'text'` in quotes, or a path into the context. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Types of the responses that API Gateway generates itself. */
export type GatewayResponseType =
  | 'ACCESS_DENIED'
  | 'AUTHORIZER_CONFIGURATION_ERROR'
  | 'AUTHORIZER_FAILURE'
  | 'BAD_REQUEST_PARAMETERS'
  | 'INTEGRATION_FAILURE'
  | 'INTEGRATION_TIMEOUT'
  | 'MISSING_AUTHENTICATION_TOKEN'
  | 'REQUEST_TOO_LARGE'
  | 'UNAUTHORIZED';

interface Default {
  readonly status: number;
  readonly message: string;
  /** The `x-amzn-ErrorType` header. */
  readonly errorType: string;
}

/** @see https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html */
const DEFAULTS: Readonly<Record<GatewayResponseType, Default>> = {
  ACCESS_DENIED: {
    status: 403,
    message: 'User is not authorized to access this resource with an explicit deny',
    errorType: 'AccessDeniedException',
  },
  AUTHORIZER_CONFIGURATION_ERROR: {
    status: 500,
    message: 'Internal server error',
    errorType: 'AuthorizerConfigurationException',
  },
  AUTHORIZER_FAILURE: { status: 500, message: 'Internal server error', errorType: 'AuthorizerFailureException' },
  BAD_REQUEST_PARAMETERS: { status: 400, message: 'Bad Request', errorType: 'BadRequestException' },
  INTEGRATION_FAILURE: { status: 502, message: 'Internal server error', errorType: 'InternalServerErrorException' },
  INTEGRATION_TIMEOUT: {
    status: 504,
    message: 'Endpoint request timed out',
    errorType: 'InternalServerErrorException',
  },
  MISSING_AUTHENTICATION_TOKEN: {
    status: 403,
    message: 'Missing Authentication Token',
    errorType: 'MissingAuthenticationTokenException',
  },
  REQUEST_TOO_LARGE: { status: 413, message: 'Request Too Long', errorType: 'RequestTooLargeException' },
  UNAUTHORIZED: { status: 401, message: 'Unauthorized', errorType: 'UnauthorizedException' },
};

export interface GatewayResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

export interface GatewayResponses {
  /**
   * Renders a response that API Gateway generates itself.
   * @param context the value of `$context` in templates
   * @param override status and message, for a type that covers several errors
   */
  render(
    type: GatewayResponseType,
    context: Readonly<Record<string, unknown>>,
    override?: { readonly status: number; readonly message: string },
  ): GatewayResponse;
}

/**
 * Returns the responses that API Gateway generates itself, as the service's `AWS::ApiGateway::GatewayResponse`
 * resources define them, so that the laptop and AWS agree. A type without a resource uses that of `DEFAULT_4XX` or
 * `DEFAULT_5XX`, or else AWS's built-in response.
 */
export function createGatewayResponses(definitions: readonly GatewayResponseDefinition[]): GatewayResponses {
  const byType = new Map(definitions.map((definition) => [definition.responseType, definition]));
  return {
    render(type, context, override) {
      const base = { ...DEFAULTS[type], ...override };
      const definition = byType.get(type) ?? byType.get(base.status < 500 ? 'DEFAULT_4XX' : 'DEFAULT_5XX');
      const error = { message: base.message, messageString: JSON.stringify(base.message), responseType: type };
      const scope = { context: { ...context, error } };
      const template = definition?.templates['application/json'] ?? '{"message":$context.error.messageString}';
      return {
        status: override?.status ?? definition?.statusCode ?? base.status,
        headers: {
          'Content-Type': 'application/json',
          'x-amzn-ErrorType': base.errorType,
          ...renderHeaders(definition, scope),
        },
        body: template.replace(VARIABLE, (_, braced?: string, bare?: string) => lookUp(scope, braced ?? bare ?? '')),
      };
    },
  };
}

/** Matches `$context.requestId` and `${context.requestId}`. */
const VARIABLE = /\$(?:\{(context(?:\.\w+)+)\}|(context(?:\.\w+)+))/g;

/** Returns the headers that a definition adds: literal texts (`'text'`), and the values of paths into the context. */
function renderHeaders(definition: GatewayResponseDefinition | undefined, scope: object): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [target, source] of Object.entries(definition?.parameters ?? {})) {
    const name = /^gatewayresponse\.header\.(.+)$/.exec(target)?.[1];
    if (name === undefined) continue;
    const literal = /^'(.*)'$/s.exec(source)?.[1];
    headers[name] = literal ?? lookUp(scope, source);
  }
  return headers;
}

/** Returns the value at a dotted path, as text. Returns an empty text if the path does not exist. */
function lookUp(scope: object, path: string): string {
  let value: unknown = scope;
  for (const name of path.split('.')) {
    value =
      typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined;
  }
  return value === undefined || value === null ? '' : String(value);
}
