import { describe, expect, it } from 'vitest';
import { SUPPRESSIONS, suppresses } from '../../../infra/check/suppressions.ts';

describe('a suppression', () => {
  const suppression = { rule: 'Rule[…]', resource: '…LogGroup', reason: 'Because.' };
  const finding = { rule: 'Rule[a]', resource: 'ChatLogGroup', text: '' };

  it('a suppression covers the findings of its rule on its resources, and no others', () => {
    expect(suppresses(suppression, finding)).toBe(true);
    expect(suppresses(suppression, { ...finding, rule: 'Rule' })).toBe(false);
    expect(suppresses(suppression, { ...finding, rule: 'OtherRule[a]' })).toBe(false);
    expect(suppresses(suppression, { ...finding, resource: 'LogGroupRole' })).toBe(false);
    expect(suppresses({ ...suppression, resource: 'Chat' }, finding)).toBe(false);
  });

  it('a suppression gives its reason in a whole sentence', () => {
    for (const { reason } of SUPPRESSIONS) expect(reason).toMatch(/^[A-Z].{20,}\.$/);
  });
});
