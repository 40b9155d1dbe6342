import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { type Act, describeAct } from '../../shared/audit/act.ts';
import { describeAwsError } from './aws-error.ts';

/**
 * Records an act of an operator in the audit log: invokes the function `record` as CloudWatch does with the log lines of other
 * functions.
 * @param now epoch milliseconds
 * @throws Error with the function's name and the reason if it isn't recorded
 */
export async function recordAct(client: LambdaClient, functionName: string, act: Act, now: number): Promise<void> {
  const line = JSON.stringify({ time: new Date(now).toISOString(), ...describeAct(act) });
  const data = {
    ...{ messageType: 'DATA_MESSAGE', logGroup: 'operator', logStream: act.type },
    logEvents: [{ id: randomUUID(), timestamp: now, message: line }],
  };
  const Payload = JSON.stringify({ awslogs: { data: gzipSync(JSON.stringify(data)).toString('base64') } });
  const { FunctionError } = await client
    .send(new InvokeCommand({ FunctionName: functionName, Payload }))
    .catch((thrown: unknown) => {
      throw new Error(`${functionName}: ${describeAwsError(thrown)}`, { cause: thrown });
    });
  if (FunctionError !== undefined) throw new Error(`${functionName}: ${FunctionError}`);
}
