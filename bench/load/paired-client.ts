/** Client process: `node paired-client.ts` reads a `PairedLoad` from standard input and prints `PairedResult[]`. */
import { json } from 'node:stream/consumers';
import { computeMedian, interleave } from '../../test/measure/statistics.ts';
import { readCpuMs } from '../targets/cpu-time.ts';
import type { PairedLoad, PairedResult, PairedTarget } from './paired.ts';
import { createSender, type Timing } from './send-request.ts';

const { targets, warmUpAnswers, rounds, requests } = (await json(process.stdin)) as PairedLoad;

/** A target's sender. Its process works for no other one. */
class Client {
  readonly #target: PairedTarget;
  readonly #send: () => Promise<Timing>;

  constructor(target: PairedTarget) {
    this.#target = target;
    this.#send = createSender(target, 1);
  }

  readCpuMs(): number {
    return this.#target.pid === undefined ? 0 : readCpuMs(this.#target.pid);
  }

  async send(count: number): Promise<number[]> {
    const firstByteMs: number[] = [];
    for (let index = 0; index < count; index++) {
      const { startedAt, firstByteAt } = await this.#send();
      firstByteMs.push(firstByteAt - startedAt);
    }
    return firstByteMs;
  }
}

const clients = targets.map((target) => new Client(target));
for (const client of clients) await client.send(warmUpAnswers);
const cpuBefore = clients.map((client) => client.readCpuMs());
const measured = await interleave(clients, rounds, async (client) =>
  computeMedian((await client.send(requests)).slice(1)),
);
const results = clients.map((client, index): PairedResult => {
  const cpuMs = client.readCpuMs() - (cpuBefore[index] ?? 0);
  return { firstByteMs: measured.get(client) ?? [], cpuMs: cpuMs / (rounds * requests) };
});
process.stdout.write(JSON.stringify(results), () => process.exit(0));
