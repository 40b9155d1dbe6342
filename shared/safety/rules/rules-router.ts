import type { ContentRule } from '../../access/content-policy-schema.ts';
import { listRestrictions } from '../../access/list-restrictions.ts';
import type { Policy } from '../../access/policy.ts';
import type { Telemetry } from '../../core/telemetry.ts';
import type { Router } from '../../inference/router.ts';
import { contentRefusedError } from '../content-refused-error.ts';
import { holdBack } from '../hold-back.ts';
import { omitOriginal } from '../omit-original.ts';
import { reportHit } from '../report-hit.ts';
import { listRequestTexts } from '../request-texts.ts';
import type { Watcher } from '../watcher.ts';
import { compileRules, type RuleSet, type Side } from './rule-set.ts';

/**
 * Returns a router that sends only requests which no content rule of the policy refuses, and holds answers back where they may
 * match a rule. It throws LambentError `content_filter` if a rule refuses the request, and `configuration` if a rule is invalid.
 */
export function withRules(policy: Policy, router: Router): Router {
  return {
    async generate(request, options) {
      const { telemetry } = options;
      checkTexts(policy, listRequestTexts(request), telemetry);
      const rules = compileRules(listRules(policy), 'output');
      const report = createReport('output', telemetry);
      const generation = await router.generate(omitOriginal(request), options);
      const events = holdBack(generation.events, () => createRuleWatcher(rules, report), request.format.type);
      return { ...generation, events };
    },
  };
}

/**
 * Checks the texts of a request. A match may extend over the texts of one group.
 * @throws LambentError `content_filter` if a rule refuses one of them, `configuration` if a rule is invalid
 */
export function checkTexts(
  policy: Policy,
  groups: readonly (readonly string[])[],
  telemetry: Telemetry | undefined,
): void {
  const rules = compileRules(listRules(policy), 'input');
  const report = createReport('input', telemetry);
  for (const group of groups) {
    const watcher = createRuleWatcher(rules, report);
    for (const text of group) {
      watcher.push(text);
      watcher.end();
      if (watcher.isRefused) throw contentRefusedError();
    }
  }
}

function listRules(policy: Policy): ContentRule[] {
  return listRestrictions(policy).flatMap(({ contentRules = [] }) => contentRules);
}

type Report = (rule: ContentRule) => void;

/** Returns a function that reports each rule once. */
function createReport(side: Side, telemetry: Telemetry | undefined): Report {
  const reported = new Set<string>();
  return ({ id, action = 'refuse' }) => {
    if (reported.has(id)) return;
    reported.add(id);
    reportHit(telemetry, { kind: 'rule', rule: id, side, action });
  };
}

interface RuleWatcher extends Watcher {
  push(text: string): void;
  end(): void;
}

function createRuleWatcher(rules: RuleSet, report: Report): RuleWatcher {
  const refusing = rules.createRefusing();
  const scanners = [refusing, rules.createFlagging()];
  const reportAll = (): void => {
    for (const { hits } of scanners) for (const rule of hits) report(rule);
  };
  return {
    push(text) {
      for (const scanner of scanners) scanner.push(text);
      reportAll();
    },
    end() {
      for (const scanner of scanners) scanner.end();
      reportAll();
    },
    get heldFrom() {
      return refusing.heldFrom;
    },
    get isRefused() {
      return refusing.hits.size > 0;
    },
  };
}
