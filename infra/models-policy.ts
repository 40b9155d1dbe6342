import { LambentError } from '../shared/core/errors.ts';
import type {
  Alias,
  BedrockTarget,
  GuardrailTarget,
  ModelRegistry,
  ModerationTarget,
  OpenAICompatibleTarget,
  Target,
} from '../shared/inference/registry.ts';
import { readPackagedRegistry } from './models-file.ts';

/** An ARN that contains CloudFormation's pseudo parameters. */
interface Arn {
  readonly 'Fn::Sub': string;
}

export interface Statement {
  readonly Sid: string;
  readonly Effect: 'Allow';
  readonly Action: readonly string[];
  readonly Resource: readonly Arn[];
  readonly Condition?: { readonly StringEquals: Readonly<Record<string, readonly Arn[]>> };
}

/** An inline policy of a role. */
interface InlinePolicy {
  readonly PolicyName: string;
  readonly PolicyDocument: PolicyDocument;
}

interface PolicyDocument {
  readonly Version: '2012-10-17';
  readonly Statement: readonly Statement[];
}

/** IAM's limit on a managed policy's size, in characters without whitespace. */
const MAX_CHARACTERS = 6_144;
/** IAM's limit on the number of managed policies of a role. */
const MAX_POLICIES = 10;

/** CloudFormation replaces these at deployment. */
const PARTITION = `\${AWS::Partition}`;
const REGION = `\${AWS::Region}`;
const ACCOUNT = `\${AWS::AccountId}`;
const DATA_KEY = `\${DataKey.Arn}`;

const STREAM = 'bedrock:InvokeModelWithResponseStream';
const INVOKE = ['bedrock:InvokeModel', STREAM];

/** What a function does with models, and the prefix of the policies that allow it. */
const USES = { Models: isGenerative, Embeddings: isEmbedding } as const;
type Use = keyof typeof USES;

function isGenerative(alias: Alias): boolean {
  return !isEmbedding(alias);
}

function isEmbedding({ embeddings }: Alias): boolean {
  return embeddings !== undefined;
}

/**
 * Returns managed policies that let functions use the models of the packaged registry. They are managed policies
 * because IAM limits all inline policies of a role together to 10,240 characters.
 */
export async function createModelsPolicies(): Promise<{ readonly Resources: Readonly<Record<string, object>> }> {
  const registry = await readPackagedRegistry();
  const policies = (Object.keys(USES) as Use[]).flatMap((use) =>
    createPolicies(registry, use).map((PolicyDocument, index) => [
      formatPolicyId(use, index),
      {
        Type: 'AWS::IAM::ManagedPolicy',
        Properties: { Description: 'Use of exactly the models that the registry names', PolicyDocument },
      },
    ]),
  );
  return { Resources: Object.fromEntries(policies) };
}

/** Returns the `ManagedPolicyArns` of a role that may use the models which generate. */
export function listModelsPolicyArns(): Promise<object[]> {
  return listPolicyArns('Models');
}

/** Returns the `ManagedPolicyArns` of a role that may use the models which embed. */
export function listEmbeddingsPolicyArns(): Promise<object[]> {
  return listPolicyArns('Embeddings');
}

async function listPolicyArns(use: Use): Promise<object[]> {
  const documents = createPolicies(await readPackagedRegistry(), use);
  return documents.map((_, index) => ({ Ref: formatPolicyId(use, index) }));
}

/** Embeddings are not streamed. Both uses check content. */
function createPolicies(registry: ModelRegistry, use: Use): PolicyDocument[] {
  const documents = createPolicyDocuments(selectModels(registry, use), createSafetyStatements(registry));
  if (use === 'Models') return documents;
  const withoutStream = ({ Action, ...statement }: Statement): Statement => ({
    ...statement,
    Action: Action.filter((action) => action !== STREAM),
  });
  return documents.map(({ Version, Statement }) => ({ Version, Statement: Statement.map(withoutStream) }));
}

const formatPolicyId = (use: Use, index: number): string => `${use}Policy${index + 1}`;

function selectModels({ models }: ModelRegistry, use: Use): Pick<ModelRegistry, 'models'> {
  return { models: Object.fromEntries(Object.entries(models).filter(([, alias]) => USES[use](alias))) };
}

/** Returns a policy that lets a function read exactly the keys of the engines on which its models run. */
async function createKeysPolicy(use: Use): Promise<InlinePolicy | { readonly Ref: 'AWS::NoValue' }> {
  const registry = await readPackagedRegistry();
  const targets = Object.values(selectModels(registry, use).models).flatMap((alias) => alias.targets);
  const used = new Set(targets.flatMap((target) => (target.provider === 'gpu' ? target.fleet : [])));
  const fleets = Object.entries(registry.fleets).filter(([name]) => used.has(name));
  const statements = createSecretStatements(fleets.flatMap(([, { apiKey = [] }]) => apiKey));
  return statements.length === 0
    ? { Ref: 'AWS::NoValue' }
    : { PolicyName: 'engine-keys', PolicyDocument: createDocument(statements) };
}

/** Returns the policy for the engines' keys of a role that uses the models which generate. */
export function createEngineKeysPolicy() {
  return createKeysPolicy('Models');
}

/** Returns the policy for the engines' keys of a role that uses the models which embed. */
export function createEmbeddingKeysPolicy() {
  return createKeysPolicy('Embeddings');
}

/**
 * Returns the policies for a registry's targets, as few as IAM's size limit allows. All statements of a target are in
 * one policy, because the statement for a model has the target's inference profile as its condition.
 * @param others further statements, for a policy of their own
 * @throws LambentError `configuration` if there are more policies than a role may have
 */
export function createPolicyDocuments(
  { models }: Pick<ModelRegistry, 'models'>,
  others: readonly Statement[] = [],
): PolicyDocument[] {
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  const distinct = new Map(targets.map((target) => [JSON.stringify(createTargetStatements([target])), target]));
  const parts: Target[][] = [];
  for (const target of distinct.values()) {
    const last = parts.at(-1);
    if (
      last !== undefined &&
      countCharacters(createDocument(createTargetStatements([...last, target]))) <= MAX_CHARACTERS
    )
      last.push(target);
    else parts.push([target]);
  }
  const documents = [...parts.map(createTargetStatements), others]
    .filter((statements) => statements.length > 0)
    .map(createDocument);
  if (documents.length <= MAX_POLICIES) return documents;
  const characters = documents.reduce((sum, each) => sum + countCharacters(each), 0);
  const limit = `A role may have ${MAX_POLICIES} policies of ${MAX_CHARACTERS} characters: name fewer models`;
  throw new LambentError('configuration', `The models file needs ${characters} characters of permissions. ${limit}`);
}

const createDocument = (Statement: readonly Statement[]): PolicyDocument => ({ Version: '2012-10-17', Statement });

/** Returns a document's size after CloudFormation's replacements, with the longest names of partitions and regions. */
function countCharacters(document: PolicyDocument): number {
  return JSON.stringify(document)
    .replaceAll(/\{"Fn::Sub":("[^"]*")\}/g, '$1')
    .replaceAll(DATA_KEY, `arn:${PARTITION}:kms:${REGION}:${ACCOUNT}:key/${'-'.repeat(36)}`)
    .replaceAll(PARTITION, 'aws-us-gov')
    .replaceAll(REGION, 'ap-northeast-1')
    .replaceAll(ACCOUNT, '123456789012').length;
}

/**
 * Returns IAM statements that let a function use exactly the models, guardrails and keys that `targets` name.
 * @throws LambentError `configuration` for a name with characters that IAM or CloudFormation would interpret
 */
function createTargetStatements(targets: readonly Target[]): Statement[] {
  const bedrock = targets.filter((target) => target.provider === 'bedrock');
  return [
    ...createModelStatements(bedrock.map(resolveModelAccess)),
    ...createStatement('Guardrails', ['bedrock:ApplyGuardrail'], bedrock.flatMap(listGuardrails)),
    ...createSecretStatements(targets.flatMap(listReferences)),
  ];
}

/** The ARNs to which a Bedrock model id gives access. */
interface ModelAccess {
  /** A model or another resource that is invoked directly. */
  readonly direct?: Arn;
  /** An inference profile and the models to which it forwards calls. */
  readonly profile?: { readonly arn: Arn; readonly models: readonly Arn[]; readonly anyModel: boolean };
}

function resolveModelAccess({ model, region }: BedrockTarget): ModelAccess {
  const name = checkName(model);
  const at = region ?? REGION;
  if (name.startsWith('arn:')) {
    const arn = sub(name);
    if (/:(application-)?inference-profile\//.test(name)) return { profile: resolveProfile(arn, name) };
    return { direct: arn };
  }
  if (isProfileId(name)) {
    const arn = sub(`arn:${PARTITION}:bedrock:${at}:${ACCOUNT}:inference-profile/${name}`);
    return { profile: resolveProfile(arn, name) };
  }
  return { direct: sub(`arn:${PARTITION}:bedrock:${at}::foundation-model/${name}`) };
}

/** Returns true for AWS's own inference profiles, whose names begin with a geography such as `eu.` or `global.`. */
function isProfileId(model: string): boolean {
  return /^(global|apac|us-gov|[a-z]{2})\./.test(model);
}

/**
 * Returns a profile with the models behind it, in every region. AWS may change a profile's regions; the grant is still
 * narrow, because it has the profile as its condition. The ARN of a global profile's model has no region.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
 */
function resolveProfile(arn: Arn, name: string): NonNullable<ModelAccess['profile']> {
  const id = name.slice(name.lastIndexOf('/') + 1);
  // The name of an application inference profile doesn't reveal its model.
  const model = isProfileId(id) ? id.slice(id.indexOf('.') + 1) : undefined;
  const regions = id.startsWith('global.') ? ['*', ''] : ['*'];
  const models = regions.map((region) => sub(`arn:${PARTITION}:bedrock:${region}::foundation-model/${model ?? '*'}`));
  return { arn, models, anyModel: model === undefined };
}

function createModelStatements(accesses: readonly ModelAccess[]): Statement[] {
  const profiles = accesses.flatMap(({ profile }) => profile ?? []);
  const named = profiles.filter(({ anyModel }) => !anyModel);
  const applications = profiles.filter(({ anyModel }) => anyModel);
  return [
    ...createStatement(
      'Models',
      INVOKE,
      accesses.flatMap(({ direct }) => direct ?? []),
    ),
    ...createStatement(
      'Profiles',
      INVOKE,
      profiles.map(({ arn }) => arn),
    ),
    ...createProfiledModelStatement('ModelsBehindProfiles', named),
    ...createProfiledModelStatement('ModelsBehindApplicationProfiles', applications),
  ];
}

function createProfiledModelStatement(
  sid: string,
  profiles: readonly NonNullable<ModelAccess['profile']>[],
): Statement[] {
  const models = profiles.flatMap((profile) => profile.models);
  const arns = deduplicate(profiles.map(({ arn }) => arn));
  return createStatement(sid, INVOKE, models, { 'bedrock:InferenceProfileArn': arns });
}

/** Returns statements that let a function apply exactly the guardrails of the registry, and read the keys of its moderation models. */
function createSafetyStatements({ guardrails, moderations }: ModelRegistry): Statement[] {
  const arns = Object.values(guardrails).flatMap(({ region, ...guardrail }) => listGuardrails({ guardrail, region }));
  const references = Object.values(moderations).flatMap(listModerationReferences);
  return [...createStatement('Guardrails', ['bedrock:ApplyGuardrail'], arns), ...createSecretStatements(references)];
}

function listModerationReferences(moderation: ModerationTarget): string[] {
  return 'guardrail' in moderation ? [] : listEndpointReferences(moderation);
}

function listGuardrails({
  guardrail,
  region,
}: {
  readonly guardrail?: Pick<GuardrailTarget, 'id'> | undefined;
  readonly region?: string | undefined;
}): Arn[] {
  if (guardrail === undefined) return [];
  const id = checkName(guardrail.id);
  if (id.startsWith('arn:')) return [sub(id)];
  return [sub(`arn:${PARTITION}:bedrock:${region ?? REGION}:${ACCOUNT}:guardrail/${id}`)];
}

/** Returns statements that let a function read exactly the referenced parameters and secrets. */
export function createSecretStatements(references: readonly string[]): Statement[] {
  const parameters = references.flatMap((reference) => parseReference('ssm:', reference));
  const secrets = references.flatMap((reference) => parseReference('secret:', reference));
  const stored = parameters.length + secrets.length > 0;
  return [
    ...createStatement('Parameters', ['ssm:GetParameter'], parameters.map(formatParameterArn)),
    ...createStatement('Secrets', ['secretsmanager:GetSecretValue'], secrets.map(formatSecretArn)),
    // For secrets that are encrypted with the stack's key. AWS managed keys need no grant.
    ...createStatement('DecryptSecrets', ['kms:Decrypt'], stored ? [sub(DATA_KEY)] : [], {
      'kms:ViaService': [sub(`ssm.${REGION}.amazonaws.com`), sub(`secretsmanager.${REGION}.amazonaws.com`)],
    }),
  ];
}

/** Returns every value of a registry that may refer to a secret. */
export function listSecretReferences({ models, fleets, moderations }: ModelRegistry): string[] {
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  return [
    ...targets.flatMap(listReferences),
    ...Object.values(fleets).flatMap(({ apiKey = [] }) => apiKey),
    ...Object.values(moderations).flatMap(listModerationReferences),
  ];
}

function listReferences(target: Target): string[] {
  return target.provider === 'openai-compatible' ? listEndpointReferences(target) : [];
}

function listEndpointReferences({
  apiKey,
  headers = {},
}: Pick<OpenAICompatibleTarget, 'apiKey' | 'headers'>): string[] {
  return [...(apiKey === undefined ? [] : [apiKey]), ...Object.values(headers)];
}

function parseReference(scheme: 'ssm:' | 'secret:', reference: string): string[] {
  return reference.startsWith(scheme) ? [checkName(reference.slice(scheme.length))] : [];
}

function formatParameterArn(name: string): Arn {
  if (name.startsWith('arn:')) return sub(name);
  return sub(`arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/${name.replace(/^\//, '')}`);
}

/** Returns a secret's ARN. Secrets Manager appends a hyphen and six random characters to the name. */
function formatSecretArn(name: string): Arn {
  if (name.startsWith('arn:')) return sub(name);
  return sub(`arn:${PARTITION}:secretsmanager:${REGION}:${ACCOUNT}:secret:${name}-??????`);
}

function checkName(name: string): string {
  if (/^[\w.:/@+=-]+$/.test(name)) return name;
  const reason = 'it has characters other than letters, digits and _.:/@+=-';
  throw new LambentError('configuration', `${JSON.stringify(name)} can't be used in an IAM permission: ${reason}`);
}

const sub = (text: string): Arn => ({ 'Fn::Sub': text });

function deduplicate(arns: readonly Arn[]): Arn[] {
  return [...new Set(arns.map((arn) => arn['Fn::Sub']))].sort().map(sub);
}

function createStatement(
  Sid: string,
  Action: readonly string[],
  arns: readonly Arn[],
  equals?: Readonly<Record<string, readonly Arn[]>>,
): Statement[] {
  const Resource = deduplicate(arns);
  if (Resource.length === 0) return [];
  const base = { Sid, Effect: 'Allow', Action, Resource } as const;
  return [equals === undefined ? base : { ...base, Condition: { StringEquals: equals } }];
}
