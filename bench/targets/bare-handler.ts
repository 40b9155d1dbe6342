/** The smallest streaming function. It measures the time of the runtime, the runner and the process. */
export const handler = awslambda.streamifyResponse(async (_event, stream) => {
  const response = awslambda.HttpResponseStream.from(stream, { statusCode: 200, headers: {} });
  response.write('hello');
  response.end();
});
