import type { GpuFindings, Recovery } from './findings.ts';

/** Formats the findings about workers as lines of text. */
export function describeGpu({ workers, calls, tokens, chats, ...findings }: GpuFindings): [string, string | number][] {
  const refused = Object.entries(chats.refused).map(([status, count]) => `, ${status} ${count}`);
  const formatShare = (part: number, whole: number) =>
    `${part} of ${whole} (${formatPercent(part / Math.max(1, whole))})`;
  return [
    ['workers killed, hung', `${workers.killed} (${workers.moved} came back elsewhere), ${workers.hung}`],
    ['dispatchers frozen', findings.dispatchersFrozen],
    [
      'calls for jobs',
      `${calls.total}: whole ${calls.whole}, closed ${calls.closed}, died with their worker ${calls.dead}`,
    ],
    ['complete answers not committed', findings.uncommittedAnswers],
    ['generated tokens wasted', formatShare(tokens.wastedGenerated, tokens.generated)],
    ['computed prompt tokens wasted', formatShare(tokens.wastedComputed, tokens.computed)],
    ["worker's death to next claim", formatRecovery(findings.workerDeath.claim)],
    ["worker's death to the job's end", formatRecovery(findings.workerDeath.end)],
    ["holder's death to the job's end", formatRecovery(findings.holderDeath.end)],
    ['slots leaked', findings.leakedLeases],
    [
      'chats',
      `${chats.asked}: answered ${chats.answered}, cut ${chats.cut}, wrong ${chats.wrong}, unanswered ${chats.unanswered}${refused.join('')}`,
    ],
    ['first token of chats', formatRecovery(chats.firstTokenMs)],
  ];
}

function formatRecovery({ count, p50, p99 }: Recovery): string {
  const formatSeconds = (ms: number | null) => (ms === null ? '–' : `${(ms / 1000).toFixed(2)} s`);
  return `p50 ${formatSeconds(p50)}, p99 ${formatSeconds(p99)} (${count})`;
}

const formatPercent = (share: number) => `${(share * 100).toFixed(1)}%`;
