import { isEnhanced } from './endpoint.ts';
import { countVcpus, listManaged, MEMORY_MB_PER_VCPU, needsNetwork } from './managed-functions.ts';
import type { Setting, Settings } from './settings-schema.ts';

/** A rule for several settings. It is checked only if each of them is valid. */
interface Rule {
  readonly settings: readonly Setting[];
  /** Returns why the values don't go together, or undefined if they do. */
  readonly findConflict: (settings: Settings) => string | undefined;
}

/** Timeouts that are no settings, as in `serverless.yml`. */
const AUTHORIZE_TIMEOUT_SECONDS = 5;
const SESSIONS_TIMEOUT_SECONDS = 29;
/**
 * The inline policies of a role may have 10,240 characters, and the variables of a function 4 KB.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
 * https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
 */
const MAX_EXTERNAL_KEYS = 30;
/** The variables of a function that has both as settings leave room for these. */
const MAX_KEYS_AND_QUEUES_BYTES = 3_000;
/**
 * The policy of a queue may have 50 principals and 8,192 bytes. It names everybody and two services besides the senders.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
 */
const MAX_SENDER_PRINCIPALS = 47;
const MAX_SENDERS_BYTES = 6_500;

export const RULES: readonly Rule[] = [
  isAtMost('chatProvisioned', 'chatProvisionedMax'),
  isAtMost('authorizeProvisioned', 'authorizeProvisionedMax'),
  isAtMost('sessionsProvisioned', 'sessionsProvisionedMax'),
  isAtMost('responsesProvisioned', 'responsesProvisionedMax'),
  isAtMost('dispatchConcurrency', 'dispatchConcurrencyMax'),
  isAtMost('managedEnvironments', 'managedEnvironmentsMax'),
  // Jobs in the other shards would be forgotten.
  isAtMost('jobShards', 'jobShardsRead'),
  isAtMost('sweepParts', 'jobShardsRead'),
  // Objects can't expire while they are locked.
  isAtMost('auditLockDays', 'auditRetentionDays'),
  isReachable('alarmFirstTokenMs', ({ chatTimeoutSeconds }) => chatTimeoutSeconds, 'chatTimeoutSeconds'),
  isReachable(
    'alarmResponsesLatencyMs',
    ({ responsesTimeoutSeconds }) => responsesTimeoutSeconds,
    'responsesTimeoutSeconds',
  ),
  isReachable('alarmSessionsLatencyMs', () => SESSIONS_TIMEOUT_SECONDS),
  isReachable('alarmAuthorizeLatencyMs', () => AUTHORIZE_TIMEOUT_SECONDS),
  isGiven('gpuImage'),
  isGiven('gpuWeights'),
  isGiven('gpuWeightsImage'),
  {
    settings: ['domainName', 'domainCertificate'],
    findConflict: ({ domainName, domainCertificate }) =>
      (domainName === '') === (domainCertificate === '')
        ? undefined
        : 'domainName and domainCertificate must be set together',
  },
  {
    settings: ['domainCertificate', 'region'],
    findConflict: ({ domainCertificate, region }) =>
      domainCertificate === '' || domainCertificate.split(':')[3] === region
        ? undefined
        : `domainCertificate must be in the stage's region, ${region}`,
  },
  {
    settings: ['externalKeys'],
    findConflict: ({ externalKeys }) =>
      externalKeys.length > MAX_EXTERNAL_KEYS
        ? `externalKeys can name at most ${MAX_EXTERNAL_KEYS} keys: a role's policies and a function's variables have no room for more`
        : undefined,
  },
  {
    settings: ['replyQueues', 'externalKeys'],
    findConflict: ({ replyQueues, externalKeys }) => {
      // AWS measures the variables as JSON, in which the quotation marks of their values are escaped.
      const bytes = JSON.stringify(JSON.stringify(replyQueues)).length + externalKeys.join(',').length;
      return bytes > MAX_KEYS_AND_QUEUES_BYTES
        ? `replyQueues and externalKeys have ${bytes} bytes together, above ${MAX_KEYS_AND_QUEUES_BYTES}: a function's variables have no room for more`
        : undefined;
    },
  },
  {
    settings: ['senderPrincipals'],
    findConflict: ({ senderPrincipals }) =>
      senderPrincipals.length > MAX_SENDER_PRINCIPALS
        ? `senderPrincipals can name at most ${MAX_SENDER_PRINCIPALS} identities: the policy of a queue has no room for more`
        : undefined,
  },
  {
    settings: ['senderSources', 'senderPrincipals'],
    findConflict: ({ senderSources, senderPrincipals }) => {
      const bytes = JSON.stringify([...senderSources, ...senderPrincipals]).length;
      return bytes > MAX_SENDERS_BYTES
        ? `senderSources and senderPrincipals have ${bytes} bytes together, above ${MAX_SENDERS_BYTES}: the policy of a queue has no room for more`
        : undefined;
    },
  },
  {
    settings: ['domainTruststore', 'domainName'],
    findConflict: ({ domainTruststore, domainName }) =>
      domainTruststore !== '' && domainName === ''
        ? 'domainTruststore must be set together with domainName'
        : undefined,
  },
  {
    settings: ['domainTruststore', 'tlsPolicy'],
    findConflict: ({ domainTruststore, tlsPolicy }) =>
      domainTruststore !== '' && isEnhanced(tlsPolicy)
        ? `domainTruststore can't be used with tlsPolicy=${tlsPolicy}: API Gateway has mutual TLS only with TLS_1_2`
        : undefined,
  },
  {
    settings: ['vpcEndpoints', 'domainName'],
    findConflict: ({ vpcEndpoints, domainName }) =>
      vpcEndpoints.length > 0 && domainName !== ''
        ? "domainName can't be used with vpcEndpoints: a private API needs a private domain, which this stack doesn't create"
        : undefined,
  },
  {
    settings: ['gpuFleet', 'gpuEgress', 'gpuWeightsImage'],
    findConflict: ({ gpuFleet, gpuEgress, gpuWeightsImage }) =>
      gpuFleet !== '' && gpuEgress === 'endpoints' && gpuWeightsImage.startsWith('public.')
        ? 'gpuWeightsImage must be in a private ECR repository with gpuEgress=endpoints, which reaches no public one'
        : undefined,
  },
  // https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-scaling.html
  ...(['chatProvisioned', 'sessionsProvisioned', 'responsesProvisioned'] as const).map(
    (name): Rule => ({
      settings: ['managedHttp', name],
      findConflict: ({ managedHttp, [name]: provisioned }) =>
        managedHttp && provisioned > 0
          ? `${name} must be 0 with managedHttp: managed instances have no provisioned concurrency`
          : undefined,
    }),
  ),
  isManaged([], (settings) => {
    const small = listManaged(settings).filter(({ mb }) => mb < MEMORY_MB_PER_VCPU);
    if (small.length === 0) return undefined;
    return `${small.map(({ setting }) => setting).join(', ')} must be at least ${MEMORY_MB_PER_VCPU} on managed instances`;
  }),
  isManaged(['managedConcurrency'], (settings) => {
    const most = Math.min(...listManaged(settings).map(({ mb }) => Math.floor(countVcpus(mb) * REQUESTS_PER_VCPU)));
    return settings.managedConcurrency > most
      ? `managedConcurrency (${settings.managedConcurrency}) is above ${most}: AWS allows ${REQUESTS_PER_VCPU} for each ${MEMORY_MB_PER_VCPU} MB`
      : undefined;
  }),
  isManaged(['managedEnvironments', 'managedVcpusMax'], (settings) => {
    const each = listManaged(settings).reduce((sum, { mb }) => sum + countVcpus(mb), 0);
    const needed = Math.ceil(each * settings.managedEnvironments);
    return needed > settings.managedVcpusMax
      ? `managedVcpusMax (${settings.managedVcpusMax}) is below the ${needed} of ${settings.managedEnvironments} environments of each function`
      : undefined;
  }),
  {
    settings: ['managedSubnets', 'managedSecurityGroups'],
    findConflict: ({ managedSubnets, managedSecurityGroups }) =>
      (managedSubnets.length === 0) === (managedSecurityGroups.length === 0)
        ? undefined
        : 'managedSubnets and managedSecurityGroups must be set together',
  },
  {
    settings: ['managedSubnets', 'gpuFleet'],
    findConflict: ({ managedSubnets, gpuFleet }) =>
      managedSubnets.length > 0 && gpuFleet !== ''
        ? "managedSubnets can't be used with gpuFleet: functions must be in the fleet's network"
        : undefined,
  },
  isManaged(['managedSubnets', 'gpuFleet', 'gpuEgress'], (settings) =>
    needsNetwork(settings) && settings.gpuEgress === 'endpoints'
      ? 'gpuEgress=endpoints needs gpuFleet, or managedSubnets of a network that has endpoints'
      : undefined,
  ),
];

/** https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-scaling.html */
const REQUESTS_PER_VCPU = 64;

/** A rule for functions on managed instances. */
function isManaged(settings: readonly Setting[], findConflict: Rule['findConflict']): Rule {
  const memory: readonly Setting[] = [
    ...(['chatMemoryMb', 'embeddingsMemoryMb', 'sessionsMemoryMb', 'responsesMemoryMb'] as const),
    ...(['generateMemoryMb', 'dispatchMemoryMb'] as const),
  ];
  return {
    settings: ['managedHttp', 'managedWorkers', ...memory, ...settings],
    findConflict: (given) => (listManaged(given).length > 0 ? findConflict(given) : undefined),
  };
}

type NumericSetting = { [S in Setting]: Settings[S] extends number ? S : never }[Setting];

function isAtMost(low: NumericSetting, high: NumericSetting): Rule {
  return {
    settings: [low, high],
    findConflict: ({ [low]: least, [high]: most }) =>
      most < least ? `${high} (${most}) is below ${low} (${least})` : undefined,
  };
}

/** An alarm's threshold must be below the timeout of the function, or the alarm could never go off. */
function isReachable(
  threshold: NumericSetting,
  readTimeoutSeconds: (settings: Settings) => number,
  timeout?: Setting,
): Rule {
  return {
    settings: timeout === undefined ? [threshold] : [threshold, timeout],
    findConflict: (settings) =>
      settings[threshold] < readTimeoutSeconds(settings) * 1_000
        ? undefined
        : `${threshold} (${settings[threshold]}) is not below the function's timeout of ${readTimeoutSeconds(settings)} s${timeout === undefined ? '' : ` (${timeout})`}`,
  };
}

function isGiven(name: 'gpuImage' | 'gpuWeights' | 'gpuWeightsImage'): Rule {
  return {
    settings: [name, 'gpuFleet'],
    findConflict: (settings) =>
      settings.gpuFleet !== '' && settings[name] === '' ? `${name} must be set together with gpuFleet` : undefined,
  };
}
