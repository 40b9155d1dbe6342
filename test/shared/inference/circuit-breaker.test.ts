import { beforeEach, describe, expect, it } from 'vitest';
import { CircuitBreaker } from '../../../shared/inference/circuit-breaker.ts';

describe('CircuitBreaker', () => {
  let breaker: CircuitBreaker;
  beforeEach(() => {
    breaker = new CircuitBreaker({ failureThreshold: 3, openMs: 1_000, maxOpenMs: 3_000 });
  });

  /** Records failures of these tenants, one after the other. */
  const fail = (tenants: string, now = 0) => {
    for (const tenant of tenants) breaker.recordFailure(tenant, now);
  };

  it('the circuit of a tenant opens at the threshold of consecutive failures, for that tenant alone', () => {
    fail('aa');
    expect(breaker.getWaitMs('a', 0)).toBe(0);
    fail('a');
    expect(breaker.getWaitMs('a', 0)).toBe(1_000);
    expect(breaker.getWaitMs('a', 999)).toBe(1);
    expect(breaker.getWaitMs('a', 1_000)).toBe(0);
    expect(breaker.getWaitMs('b', 0)).toBe(0);
  });

  it('a success of a tenant resets its count of failures', () => {
    fail('aa');
    breaker.recordSuccess('a');
    fail('aa');
    expect(breaker.getWaitMs('a', 0)).toBe(0);
  });

  it('each failure after an open time doubles the next one, up to the maximum', () => {
    fail('aaa');
    fail('a', 1_000);
    expect(breaker.getWaitMs('a', 1_000)).toBe(2_000);
    fail('a', 3_000);
    expect(breaker.getWaitMs('a', 3_000)).toBe(3_000);
  });

  it('failures of two tenants open the circuit of all tenants, and each later failure opens it again', () => {
    fail('aab');
    expect(breaker.getWaitMs('c', 0)).toBe(1_000);
    fail('a', 1_000);
    expect(breaker.getWaitMs('c', 1_000)).toBe(2_000);
  });

  it('any success closes the circuit of all tenants, whose next open time is the first again', () => {
    fail('aab');
    fail('b', 1_000);
    breaker.recordSuccess('c');
    expect(breaker.getWaitMs('c', 1_000)).toBe(0);
    fail('abb', 1_000);
    expect(breaker.getWaitMs('c', 1_000)).toBe(1_000);
  });

  it('failures before a success count neither for the circuit of all tenants nor for its two tenants', () => {
    fail('ab');
    breaker.recordSuccess('c');
    fail('ab');
    expect(breaker.getWaitMs('c', 0)).toBe(0);
    breaker.recordSuccess('c');
    fail('aaa');
    expect(breaker.getWaitMs('c', 0)).toBe(0);
  });
});
