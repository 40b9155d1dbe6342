/**
 * The local cloud around the chat function, as a process: the front that stands for API Gateway, the Lambda runner, and
 * the processes of the functions `chat` and `authorize`.
 *
 * `node cloud.ts <function definitions as JSON>`
 */
import { startGateway } from '../../local/gateway/gateway.ts';
import type { FunctionDefinition } from '../../local/lambda/function.ts';
import { startRunner } from '../../local/lambda/runner.ts';
import { REGION } from './functions.ts';

const functions = JSON.parse(process.argv[2] ?? '') as FunctionDefinition[];
const runner = await startRunner({ functions, region: REGION });
const { url } = await startGateway({
  port: 0,
  api: { apiId: 'bench', stage: 'bench', region: REGION, binaryMediaTypes: [] },
  routes: [
    {
      kind: 'function',
      method: 'POST',
      resource: '/v1/chat/completions',
      function: 'chat',
      streamed: true,
      timeoutMs: 60_000,
      authorizer: { function: 'authorize', identityHeaders: ['authorization'], ttlMs: 30_000 },
    },
  ],
  responses: [],
  runner,
});
process.once('SIGTERM', () => void runner.close().then(() => process.exit(0)));
console.log(url);
