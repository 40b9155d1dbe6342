import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PreflightInput, runPreflight } from '../../infra/operate/preflight.ts';
import { HAS_PYTHON, type Moto, startMoto } from './moto.ts';

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };

describe.skipIf(!HAS_PYTHON)('the preflight', () => {
  let moto: Moto;
  let input: PreflightInput;
  beforeAll(async () => {
    moto = await startMoto();
    input = {
      stage: 'dev',
      region: 'eu-west-1',
      stackName: 'lambent-dev',
      template: { Resources: {} },
      settings: {},
      clientConfig: { endpoint: moto.url, credentials },
    };
  });
  afterAll(() => moto?.stop());

  it('the preflight finds nothing wrong with a stage in its own account', async () => {
    expect(await runPreflight({ ...input, account: '123456789012' })).toEqual([]);
  });

  it('the preflight refuses another account than that of the first deployment', async () => {
    expect(await runPreflight({ ...input, account: '210987654321' })).toEqual([
      {
        level: 'error',
        problem: 'The credentials belong to account 123456789012, but the stage dev is deployed in 210987654321.',
        remedy: 'Use credentials of account 210987654321, or another stage name.',
      },
    ]);
  });

  it.each(['', 'Dev', '1st', 'my_stage', 'a-stage-name-that-is-too-long'])(
    "the preflight refuses the stage name '%s'",
    async (stage) => {
      expect(await runPreflight({ ...input, stage })).toMatchObject([{ level: 'error' }]);
    },
  );

  it('the preflight reports credentials that AWS does not accept', async () => {
    const clientConfig = { endpoint: 'http://127.0.0.1:9', credentials };
    const [finding] = await runPreflight({ ...input, clientConfig });
    expect(finding?.problem).toMatch(/^AWS accepts no credentials of this shell: /);
  });
});
