import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { GetCallerIdentityCommand, type STSClient } from '@aws-sdk/client-sts';
import { type Act, describeAct } from '../../shared/audit/act.ts';
import { describeAwsError } from './aws-error.ts';

/** The function `record` of a stage or of the laptop. */
export interface Recorder {
  readonly functionName: string;
  readonly lambda: LambdaClient;
  /** Names the operator. Undefined on the laptop, which has no stand-in for STS. */
  readonly sts: STSClient | undefined;
}

/**
 * Records an act of an operator in the audit log, with the operator's ARN: invokes the function `record` as CloudWatch does with the
 * log lines of other functions. Then destroys the recorder's clients.
 * @param now epoch milliseconds
 * @throws Error with the reason if it isn't recorded
 */
export async function recordAct(recorder: Recorder, act: Act, now: number): Promise<void> {
  const { lambda, sts } = recorder;
  try {
    const { Arn: operator } = (await sts?.send(new GetCallerIdentityCommand({}))) ?? {};
    await invokeRecord(recorder, { ...act, details: { ...act.details, operator } }, now);
  } finally {
    for (const client of [lambda, sts]) client?.destroy();
  }
}

/** @throws Error with the function's name and the reason if it fails */
async function invokeRecord({ lambda, functionName }: Recorder, act: Act, now: number): Promise<void> {
  const line = JSON.stringify({ time: new Date(now).toISOString(), ...describeAct(act) });
  const data = {
    ...{ messageType: 'DATA_MESSAGE', logGroup: 'operator', logStream: act.type },
    logEvents: [{ id: randomUUID(), timestamp: now, message: line }],
  };
  const Payload = JSON.stringify({ awslogs: { data: gzipSync(JSON.stringify(data)).toString('base64') } });
  const { FunctionError } = await lambda
    .send(new InvokeCommand({ FunctionName: functionName, Payload }))
    .catch((thrown: unknown) => {
      throw new Error(`${functionName}: ${describeAwsError(thrown)}`, { cause: thrown });
    });
  if (FunctionError !== undefined) throw new Error(`${functionName}: ${FunctionError}`);
}
