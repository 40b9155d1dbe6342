import { describe, expect, it } from 'vitest';
import { listFaults } from '../../../infra/check/judge.ts';

describe('listFaults', () => {
  const finding = { rule: 'CKV_AWS_1', resource: 'Queue', text: 'The queue is not encrypted' };
  const suppression = { rule: 'CKV_AWS_1', resource: '…', reason: 'Because.' };

  it('listFaults returns nothing if a suppression covers each finding, and each suppression covers one', () => {
    expect(listFaults([finding], [suppression])).toEqual([]);
  });

  it('listFaults names a finding that no suppression covers, once for all templates', () => {
    expect(listFaults([finding, { ...finding }], [])).toEqual(['Queue: The queue is not encrypted (CKV_AWS_1)']);
  });

  it('listFaults names a suppression that covers no finding', () => {
    const unused = { ...suppression, rule: 'CKV_AWS_2' };
    expect(listFaults([finding], [suppression, unused])).toEqual([
      '…: the suppression of CKV_AWS_2 matches no finding; remove it',
    ]);
  });
});
