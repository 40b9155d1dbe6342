import { BedrockRuntimeClient, ConverseCommand } from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { readPackagedRegistry } from '../../models-file.ts';
import { describeAwsError } from '../aws-error.ts';
import { createError, createWarning, type Finding, type PreflightInput } from './finding.ts';

/**
 * Calls each Bedrock model of the models file with a request for one token, if the operator agreed: it costs a fraction
 * of a cent, and the first call of a third-party model subscribes the account to its product in AWS Marketplace.
 */
export async function checkModels(input: PreflightInput): Promise<readonly Finding[]> {
  if (input.checkModels !== true) return [];
  const { models } = input.registry ?? (await readPackagedRegistry());
  const calls = Object.values(models)
    .flatMap(({ targets }) => targets)
    .flatMap((target) =>
      target.provider === 'bedrock' ? [{ model: target.model, region: target.region ?? input.region }] : [],
    );
  const distinct = new Map(calls.map((call) => [`${call.model} ${call.region}`, call]));
  const found = await Promise.all([...distinct.values()].map((call) => checkModel(call, input)));
  return found.flat();
}

async function checkModel(
  { model, region }: { readonly model: string; readonly region: string },
  { clientConfig }: PreflightInput,
): Promise<Finding[]> {
  const client = new BedrockRuntimeClient({
    ...clientConfig,
    region,
    requestHandler: new NodeHttpHandler({ requestTimeout: 60_000 }),
  });
  try {
    const messages = [{ role: 'user' as const, content: [{ text: 'Hi' }] }];
    await client.send(new ConverseCommand({ modelId: model, messages, inferenceConfig: { maxTokens: 1 } }));
    return [];
  } catch (thrown) {
    return describeRefusal(`${model} in ${region}`, thrown);
  } finally {
    client.destroy();
  }
}

function describeRefusal(model: string, thrown: unknown): Finding[] {
  const name = thrown instanceof Error ? thrown.name : '';
  const reason = describeAwsError(thrown);
  const console = 'Open the model in the Bedrock console (Model catalog) of this region, and accept its terms';
  if (name === 'AccessDeniedException' || name === 'ResourceNotFoundException')
    return [
      createError(
        `The account can't use the model ${model}: ${reason}`,
        `${console}. Or remove it from the models file.`,
      ),
    ];
  if (name === 'ValidationException' && /identifier|on-demand throughput|isn.t supported/i.test(reason))
    return [
      createError(
        `Bedrock does not accept the model ${model}: ${reason}`,
        'Correct its id or region in the models file.',
      ),
    ];
  // A model that asks for more than one token was reached.
  if (name === 'ValidationException') return [];
  return [createWarning(`The model ${model} did not answer a test call: ${reason}`, 'Try again later, or deploy.')];
}
