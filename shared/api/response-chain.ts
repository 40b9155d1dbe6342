import { LambentError } from '../core/errors.ts';
import { abbreviateId } from '../core/ids.ts';
import { readInput, readOutput } from '../jobs/completion.ts';
import type { Job } from '../jobs/job.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { ApiState } from './api-state.ts';
import { createTurnItems, type TurnItem } from './turn-items.ts';

/** The stores that hold responses. */
export type ResponseStores = Pick<ApiState, 'jobs' | 'bodies' | 'vault'>;

/** Maximum number of responses in a chain. Callers with longer ones should use a conversation. */
const MAX_CHAIN = 500;

/**
 * Returns all items of the chain of responses that ends with `id`, oldest first. The jobs are read one after the other,
 * because each names its predecessor. Their inputs and outputs are read in parallel.
 * @throws LambentError `previous_response_not_found` if a response is missing, `invalid_value` if a response can't be
 * continued or the chain is too long; also as `readInput` does
 */
export async function readChain(stores: ResponseStores, tenant: string, id: string): Promise<TurnItem[]> {
  const turns: Promise<TurnItem[]>[] = [];
  try {
    for (let nextId: string | undefined = id; nextId !== undefined; ) {
      const job: Job | undefined = await stores.jobs.read(tenant, nextId);
      if (job === undefined || !job.stored || job.endpoint !== '/v1/responses') throw previousNotFoundError(nextId);
      if (job.status !== 'completed' && job.status !== 'incomplete') throw notContinuableError(job);
      if (turns.length === MAX_CHAIN) throw chainTooLongError();
      turns.push(readTurn(job, stores));
      nextId = job.previousResponse;
    }
  } catch (error) {
    await Promise.allSettled(turns);
    throw error;
  }
  return (await Promise.all(turns)).reverse().flat();
}

/**
 * Returns the items of a job's turn, input and output, oldest first.
 * @throws LambentError as `readInput` does
 */
export async function readTurn(job: Job, { bodies }: Pick<ResponseStores, 'bodies'>): Promise<TurnItem[]> {
  const [input, output] = await Promise.all([readInput(job, bodies), readOutput(job, bodies)]);
  return createTurnItems(job.id, input, output ?? { answer: undefined });
}

function previousNotFoundError(id: string): LambentError {
  return new LambentError('previous_response_not_found', `Previous response with id '${abbreviateId(id)}' not found.`, {
    param: 'previous_response_id',
  });
}

function notContinuableError({ id, status }: Job): LambentError {
  return invalidValueError(
    'previous_response_id',
    `Response '${id}' cannot be continued: its status is '${status}'. Only completed and incomplete responses can.`,
  );
}

function chainTooLongError(): LambentError {
  return invalidValueError(
    'previous_response_id',
    `The chain has more than ${MAX_CHAIN} responses. Start a new chain or use a conversation.`,
  );
}
