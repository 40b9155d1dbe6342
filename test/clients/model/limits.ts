import type { Capability } from '../../../shared/inference/capabilities.ts';
import type { ReceivedRequest, Script } from '../../upstreams/openai-upstream.ts';

/**
 * Returns a script that answers 400 to requests that need another capability than these, as strict upstreams do. Others
 * get the reply of `script`.
 */
export function refuseBeyond(capabilities: readonly Capability[], script: Script): Script {
  return (request, index) => {
    const refused = listNeeds(request).find(({ capability }) => !capabilities.includes(capability));
    if (refused === undefined) return script(request, index);
    const error = { message: `${refused.param} is not supported`, type: 'invalid_request_error', param: refused.param };
    return { status: 400, body: { error: { ...error, code: null } } };
  };
}

interface Need {
  readonly capability: Capability;
  readonly param: string;
}

type Fields = Readonly<Record<string, unknown>>;

function listNeeds({ body }: ReceivedRequest): Need[] {
  const fields = toFields(body);
  const { tools, messages, response_format: format, parallel_tool_calls: parallel } = fields;
  const { type, json_schema: schema } = toFields(format);
  const functions = toList(tools).map((tool) => toFields(tool['function']));
  const needs: readonly (readonly [boolean, Capability, string])[] = [
    [toList(tools).length > 0, 'tools', 'tools'],
    [toList(tools).some((tool) => tool['type'] === 'custom'), 'customTools', 'tools'],
    [functions.some(({ strict }) => strict === true), 'strictTools', 'tools'],
    [parallel === false, 'singleToolCall', 'parallel_tool_calls'],
    [type === 'json_object', 'json', 'response_format'],
    [type === 'json_schema', 'jsonSchema', 'response_format'],
    [toFields(schema)['strict'] === true, 'strictJsonSchema', 'response_format'],
    [fields['reasoning_effort'] !== undefined, 'reasoning', 'reasoning_effort'],
    [fields['verbosity'] !== undefined, 'verbosity', 'verbosity'],
    [fields['seed'] !== undefined, 'seed', 'seed'],
    [fields['stop'] !== undefined, 'stop', 'stop'],
    [fields['logprobs'] !== undefined, 'logprobs', 'logprobs'],
    [fields['service_tier'] !== undefined, 'serviceTiers', 'service_tier'],
    [toList(messages).some(({ name }) => name !== undefined), 'names', 'messages'],
  ];
  return needs.flatMap(([isNeeded, capability, param]) => (isNeeded ? [{ capability, param }] : []));
}

function toFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function toList(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(toFields) : [];
}
