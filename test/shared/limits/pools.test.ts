import { expect, it } from 'vitest';
import type { Cap, Level } from '../../../shared/limits/caps.ts';
import {
  buildExpiry,
  getChildCounters,
  getChildPool,
  getCounterName,
  getParentCounters,
  getPool,
  listChildren,
  METRICS,
} from '../../../shared/limits/pools.ts';

const NOW = Date.UTC(2026, 10, 30);
const HOLDER = { tenant: 'acme', keyId: 'one' };
const makeCap = (level: Level): Cap => ({ level, metric: 'requests', span: 'day', max: 10n, name: 'requestsPerDay' });
const DAY = `d${NOW / 86_400_000}`;
const KEY = { pk: 'key#acme#one', name: 'one' };
const PROJECT = { pk: `project#acme#${DAY}`, name: 'acme' };
const ACCOUNT = { pk: `account#${DAY}`, name: '' };

it.each<[Level, object[]]>([
  ['key', [KEY]],
  ['model', [KEY, { pk: `model#acme#${DAY}#m`, name: 'acme' }]],
  ['project', [KEY, PROJECT]],
  ['account', [KEY, PROJECT, ACCOUNT]],
])('the pool of a limit of the %s has its items from the key to the root', (level, nodes) => {
  const cap = makeCap(level);
  const id = getCounterName(cap, DAY, 'm');
  expect(getPool(cap, HOLDER, 'm', NOW)).toEqual({ id, cap, window: DAY, nodes, leafPrefix: 'key#acme#' });
});

it('each level, metric, window and limited model has a counter of its own', () => {
  const names = (['account', 'project', 'model', 'key'] as const).flatMap((level) =>
    (Object.keys(METRICS) as (keyof typeof METRICS)[]).flatMap((metric) =>
      ['d1', 'd2'].map((window) => getCounterName({ level, metric }, window, 'm')),
    ),
  );
  const others = [getCounterName({ level: 'model', metric: 'requests' }, 'd1', 'other')];
  expect(new Set([...names, ...others]).size).toBe(names.length + 1);
  const ofAll = (model: string) => getCounterName({ level: 'project', metric: 'requests' }, 'd1', model);
  expect(ofAll('other')).toBe(ofAll('m'));
});

it('a pool is seen by other keys and projects with their own items', () => {
  const account = getPool(makeCap('account'), HOLDER, 'm', NOW);
  const project = getPool(makeCap('project'), HOLDER, 'm', NOW);
  const ofKey = { pk: 'key#acme#two', name: 'two' };
  expect(getChildPool(project, 1, 'two')).toEqual({ ...project, nodes: [ofKey, PROJECT] });
  expect(getChildPool(account, 1, 'two')).toEqual({ ...account, nodes: [ofKey, PROJECT, ACCOUNT] });
  const ofProject = getChildPool(account, 2, 'beta');
  expect(ofProject).toMatchObject({ id: account.id, cap: account.cap, window: DAY, leafPrefix: 'key#beta#' });
  expect(ofProject.nodes.slice(1)).toEqual([{ pk: `project#beta#${DAY}`, name: 'beta' }, ACCOUNT]);
  expect(getChildPool(ofProject, 1, 'three').nodes[0]).toEqual({ pk: 'key#beta#three', name: 'three' });
});

it('the counters of a pool have names of their own', () => {
  const names = [...Object.values(getChildCounters('p.r.d1')), ...Object.values(getParentCounters('p.r.d1', 'one'))];
  expect(new Set(names).size).toBe(6);
  expect(Object.values(getParentCounters('p.r.d1', 'two'))).not.toEqual(
    Object.values(getParentCounters('p.r.d1', 'one')),
  );
});

it('the children of a pool are listed by what they have, without those of other pools', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((child) => getParentCounters('p.r.d1', child));
  const counters = {
    [a?.granted ?? '']: 10n,
    [a?.recovered ?? '']: 8n,
    [c?.granted ?? '']: 3n,
    [c?.recovered ?? '']: 0n,
    [b?.granted ?? '']: 5n,
    [getParentCounters('p.r.d2', 'd').granted]: 9n,
  };
  expect(listChildren('p.r.d1', counters)).toEqual(['b', 'c', 'a']);
});

it('an item of a window is kept for a day after its end, and one without an end for ever', () => {
  const pool = getPool(makeCap('project'), HOLDER, 'm', NOW);
  expect(buildExpiry(pool)).toEqual({ expiresAt: BigInt(NOW / 1000 + 2 * 86_400) });
  expect(buildExpiry({ ...pool, window: 'now' })).toEqual({});
});
