import { afterEach, expect, it } from 'vitest';
import { readOwnStack } from '../../../infra/operate/preflight/own-stack.ts';
import { type Answer, type AwsStandIn, startAws } from './aws-stand-in.ts';

let aws: AwsStandIn | undefined;
afterEach(() => aws?.close());

async function read(answer: Answer) {
  aws = await startAws({ ListStackResources: () => answer });
  return readOwnStack({ region: 'eu-west-1', stackName: 'lambent-dev', clientConfig: aws.clientConfig });
}

it('a stack that does not exist has no resources of its own', async () => {
  const message = 'Stack with id lambent-dev does not exist';
  expect(await read({ error: 'ValidationError', message })).toBeUndefined();
});

it('a stack that the caller may not see is not mistaken for one that does not exist', async () => {
  await expect(read({ error: 'AccessDenied', message: 'not you' })).rejects.toThrow('not you');
});
