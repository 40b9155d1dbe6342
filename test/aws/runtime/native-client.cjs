/**
 * Replaces `rapid-client.node`, the only compiled part of AWS's runtime interface client: its build needs autotools and
 * a C++ compiler. It has the same three functions and sends the same requests of the Runtime API. As in the original,
 * the next poll begins only after the last response was sent.
 * @see https://github.com/aws/aws-lambda-nodejs-runtime-interface-client/blob/main/src/native/rapid-client.cc
 */
const { Agent, request } = require('node:http');

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const [hostname, port] = process.env['AWS_LAMBDA_RUNTIME_API'].split(':');
let sent = Promise.resolve();

exports.next = async () => {
  await sent;
  const { headers, body } = await send('GET', 'next');
  return { headers, bodyJson: body };
};

exports.done = (id, body) => {
  sent = send('POST', `${id}/response`, body);
};

exports.error = (id, body, xrayCause) => {
  const { errorType } = JSON.parse(body);
  const headers = {
    'lambda-runtime-function-error-type': errorType,
    'lambda-runtime-function-xray-error-cause': xrayCause,
  };
  sent = send('POST', `${id}/error`, body, headers);
};

/** Sends a request. The process ends if the runner is gone. */
function send(method, path, content = '', headers = {}) {
  return new Promise((resolve) => {
    const all = method === 'GET' ? {} : { 'content-type': 'application/json', ...headers };
    const target = { hostname, port, path: `/2018-06-01/runtime/invocation/${path}` };
    const sending = request({ ...target, method, agent, headers: all }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve({ headers: response.headers, body }));
    });
    sending.on('error', () => process.exit(0)).end(content);
  });
}
