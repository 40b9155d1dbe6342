/** The least a streaming function can be: what the runtime, the runner and the process cost by themselves. */
export const handler = awslambda.streamifyResponse(async (_event, stream) => {
  const response = awslambda.HttpResponseStream.from(stream, { statusCode: 200, headers: {} });
  response.write('hello');
  response.end();
});
