/** Runs a function on AWS's own runtime for Node.js. Only its native client is replaced. */
import http from 'node:http';
import { registerHooks } from 'node:module';

// The local runner serves all environments at one address and knows them by the path. AWS's runtime takes an address
// without a path.
const [address, ...path] = process.env['AWS_LAMBDA_RUNTIME_API'].split('/');
process.env['AWS_LAMBDA_RUNTIME_API'] = address;
const { request } = http;
http.request = (options, ...rest) => {
  const isApi = options.path?.startsWith('/2018-06-01/runtime/');
  return request(isApi ? { ...options, path: `/${path.join('/')}${options.path}` } : options, ...rest);
};

const replacement = new URL('native-client.cjs', import.meta.url).href;
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === './rapid-client.node' ? { url: replacement, shortCircuit: true } : next(specifier, context),
});
await import('aws-lambda-ric');
