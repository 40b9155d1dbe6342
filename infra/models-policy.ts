import { LambentError } from '../shared/core/errors.ts';
import type { BedrockTarget, ModelRegistry, Target } from '../shared/inference/registry.ts';
import { packagedRegistry } from './models-file.ts';

/** An ARN with CloudFormation's own variables in it. */
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

/** An inline policy of a role, absent when there is nothing to allow. */
interface InlinePolicy {
  readonly PolicyName: string;
  readonly PolicyDocument: PolicyDocument;
}

interface PolicyDocument {
  readonly Version: '2012-10-17';
  readonly Statement: readonly Statement[];
}

/** IAM's limits of a managed policy's size, in characters without whitespace, and of how many a role may have. */
const MOST_CHARACTERS = 6_144;
const MOST_POLICIES = 10;

/** CloudFormation puts in what the stack is deployed to. */
const PARTITION = `\${AWS::Partition}`;
const REGION = `\${AWS::Region}`;
const ACCOUNT = `\${AWS::AccountId}`;
const DATA_KEY = `\${DataKey.Arn}`;

const INVOKE = ['bedrock:InvokeModel', 'bedrock:InvokeModelWithResponseStream'];

/**
 * Managed policies that let functions use the models of the registry that is being packaged: `MODELS_FILE`, else
 * `models.json`. Managed, and not a part of each role: all inline policies of a role together may have 10,240 characters.
 */
export async function modelsPolicies(): Promise<{ readonly Resources: Readonly<Record<string, object>> }> {
  const documents = documentsFor(await packagedRegistry());
  const policies = documents.map((PolicyDocument, index) => [
    policyId(index),
    {
      Type: 'AWS::IAM::ManagedPolicy',
      Properties: { Description: 'Use of exactly the models that the registry names', PolicyDocument },
    },
  ]);
  return { Resources: Object.fromEntries(policies) };
}

/** `ManagedPolicyArns` of a role that may use the models. */
export async function modelsPolicyArns(): Promise<object[]> {
  return documentsFor(await packagedRegistry()).map((_, index) => ({ Ref: policyId(index) }));
}

const policyId = (index: number): string => `ModelsPolicy${index + 1}`;

/** Lets a function that talks to GPU workers read the keys of their engines, and no other. */
export async function engineKeysPolicy(): Promise<InlinePolicy | { readonly Ref: 'AWS::NoValue' }> {
  const { fleets } = await packagedRegistry();
  const statements = secretStatements(Object.values(fleets).flatMap(({ apiKey = [] }) => apiKey));
  return statements.length === 0
    ? { Ref: 'AWS::NoValue' }
    : { PolicyName: 'engine-keys', PolicyDocument: documentOf(statements) };
}

/**
 * The targets' policies, as few as IAM's limit of their size allows. A target is never divided, so that a model stays
 * with the profile that is its condition.
 * @throws LambentError `configuration` when a role could not have so many
 */
export function documentsFor({ models }: ModelRegistry): PolicyDocument[] {
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  const different = new Map(targets.map((target) => [JSON.stringify(statementsFor([target])), target]));
  const parts: Target[][] = [];
  for (const target of different.values()) {
    const last = parts.at(-1);
    if (last !== undefined && charactersOf(documentOf(statementsFor([...last, target]))) <= MOST_CHARACTERS)
      last.push(target);
    else parts.push([target]);
  }
  const documents = parts.map((part) => documentOf(statementsFor(part))).filter((each) => each.Statement.length > 0);
  if (documents.length <= MOST_POLICIES) return documents;
  const characters = documents.reduce((sum, each) => sum + charactersOf(each), 0);
  throw new LambentError(
    'configuration',
    `The models file needs ${characters} characters of permissions, and a role may have ${MOST_POLICIES} policies of ${MOST_CHARACTERS} each: name fewer models`,
  );
}

const documentOf = (Statement: readonly Statement[]): PolicyDocument => ({ Version: '2012-10-17', Statement });

/** How long a document is at most when CloudFormation has put in what it is deployed to: long names of each kind. */
function charactersOf(document: PolicyDocument): number {
  return JSON.stringify(document)
    .replaceAll(/\{"Fn::Sub":("[^"]*")\}/g, '$1')
    .replaceAll(DATA_KEY, `arn:${PARTITION}:kms:${REGION}:${ACCOUNT}:key/${'-'.repeat(36)}`)
    .replaceAll(PARTITION, 'aws-us-gov')
    .replaceAll(REGION, 'ap-northeast-1')
    .replaceAll(ACCOUNT, '123456789012').length;
}

/**
 * IAM statements that let a function use exactly the models, guardrails and keys that `targets` name.
 * @throws LambentError `configuration` for a name that IAM or CloudFormation would read as more than a name
 */
function statementsFor(targets: readonly Target[]): Statement[] {
  const bedrock = targets.filter((target) => target.provider === 'bedrock');
  return [
    ...modelStatements(bedrock.map(modelAccess)),
    ...statement('Guardrails', ['bedrock:ApplyGuardrail'], bedrock.flatMap(guardrailOf)),
    ...secretStatements(targets.flatMap(referencesOf)),
  ];
}

/** What a Bedrock model id stands for, as ARNs. */
interface ModelAccess {
  /** A model, or whatever else is invoked by itself. */
  readonly direct?: Arn;
  /** An inference profile, and the models that it hands a call on to. */
  readonly profile?: { readonly arn: Arn; readonly models: readonly Arn[]; readonly anyModel: boolean };
}

function modelAccess({ model, region }: BedrockTarget): ModelAccess {
  const name = plainName(model);
  const at = region ?? REGION;
  if (name.startsWith('arn:')) {
    const arn = sub(name);
    if (/:(application-)?inference-profile\//.test(name)) return { profile: behindProfile(arn, name) };
    return { direct: arn };
  }
  if (isProfileId(name)) {
    const arn = sub(`arn:${PARTITION}:bedrock:${at}:${ACCOUNT}:inference-profile/${name}`);
    return { profile: behindProfile(arn, name) };
  }
  return { direct: sub(`arn:${PARTITION}:bedrock:${at}::foundation-model/${name}`) };
}

/** System-defined profiles are named for a geography: `eu.`, `us.`, `apac.`, `us-gov.`, `global.`… */
function isProfileId(model: string): boolean {
  return /^(global|apac|us-gov|[a-z]{2})\./.test(model);
}

/**
 * The models behind a profile, in every region: which ones it uses is AWS's to say and to change, and the condition
 * on the profile keeps the grant from being worth anything else. A global profile's model has no region in its ARN.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
 */
function behindProfile(arn: Arn, name: string): NonNullable<ModelAccess['profile']> {
  const id = name.slice(name.lastIndexOf('/') + 1);
  // An application's profile says nothing in its name about its model.
  const model = isProfileId(id) ? id.slice(id.indexOf('.') + 1) : undefined;
  const regions = id.startsWith('global.') ? ['*', ''] : ['*'];
  const models = regions.map((region) => sub(`arn:${PARTITION}:bedrock:${region}::foundation-model/${model ?? '*'}`));
  return { arn, models, anyModel: model === undefined };
}

function modelStatements(accesses: readonly ModelAccess[]): Statement[] {
  const profiles = accesses.flatMap(({ profile }) => profile ?? []);
  const named = profiles.filter(({ anyModel }) => !anyModel);
  const applications = profiles.filter(({ anyModel }) => anyModel);
  return [
    ...statement(
      'Models',
      INVOKE,
      accesses.flatMap(({ direct }) => direct ?? []),
    ),
    ...statement(
      'Profiles',
      INVOKE,
      profiles.map(({ arn }) => arn),
    ),
    ...behindStatement('ModelsBehindProfiles', named),
    ...behindStatement('ModelsBehindApplicationProfiles', applications),
  ];
}

function behindStatement(sid: string, profiles: readonly NonNullable<ModelAccess['profile']>[]): Statement[] {
  const models = profiles.flatMap((profile) => profile.models);
  const arns = unique(profiles.map(({ arn }) => arn));
  return statement(sid, INVOKE, models, { 'bedrock:InferenceProfileArn': arns });
}

function guardrailOf({ guardrail, region }: BedrockTarget): Arn[] {
  if (guardrail === undefined) return [];
  const id = plainName(guardrail.id);
  if (id.startsWith('arn:')) return [sub(id)];
  return [sub(`arn:${PARTITION}:bedrock:${region ?? REGION}:${ACCOUNT}:guardrail/${id}`)];
}

/** Lets a function read exactly these keys, where they are kept in AWS. */
export function secretStatements(references: readonly string[]): Statement[] {
  const parameters = references.flatMap((reference) => nameAfter('ssm:', reference));
  const secrets = references.flatMap((reference) => nameAfter('secret:', reference));
  const stored = parameters.length + secrets.length > 0;
  return [
    ...statement('Parameters', ['ssm:GetParameter'], parameters.map(parameterArn)),
    ...statement('Secrets', ['secretsmanager:GetSecretValue'], secrets.map(secretArn)),
    // Those encrypted with this stack's key; AWS's own keys for the two services need no grant.
    ...statement('DecryptSecrets', ['kms:Decrypt'], stored ? [sub(DATA_KEY)] : [], {
      'kms:ViaService': [sub(`ssm.${REGION}.amazonaws.com`), sub(`secretsmanager.${REGION}.amazonaws.com`)],
    }),
  ];
}

/** Every place of a registry that may refer to a secret. */
export function referencesIn({ models, fleets }: ModelRegistry): string[] {
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  return [...targets.flatMap(referencesOf), ...Object.values(fleets).flatMap(({ apiKey = [] }) => apiKey)];
}

function referencesOf(target: Target): string[] {
  if (target.provider !== 'openai-compatible') return [];
  return [...(target.apiKey === undefined ? [] : [target.apiKey]), ...Object.values(target.headers ?? {})];
}

function nameAfter(scheme: 'ssm:' | 'secret:', reference: string): string[] {
  return reference.startsWith(scheme) ? [plainName(reference.slice(scheme.length))] : [];
}

function parameterArn(name: string): Arn {
  if (name.startsWith('arn:')) return sub(name);
  return sub(`arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/${name.replace(/^\//, '')}`);
}

/** Secrets Manager adds a hyphen and six characters of its own to a secret's name. */
function secretArn(name: string): Arn {
  if (name.startsWith('arn:')) return sub(name);
  return sub(`arn:${PARTITION}:secretsmanager:${REGION}:${ACCOUNT}:secret:${name}-??????`);
}

function plainName(name: string): string {
  if (/^[\w.:/@+=-]+$/.test(name)) return name;
  throw new LambentError(
    'configuration',
    `${JSON.stringify(name)} can't be used in a permission: it is not a plain name`,
  );
}

const sub = (text: string): Arn => ({ 'Fn::Sub': text });

function unique(arns: readonly Arn[]): Arn[] {
  return [...new Set(arns.map((arn) => arn['Fn::Sub']))].sort().map(sub);
}

function statement(
  Sid: string,
  Action: readonly string[],
  arns: readonly Arn[],
  equals?: Readonly<Record<string, readonly Arn[]>>,
): Statement[] {
  const Resource = unique(arns);
  if (Resource.length === 0) return [];
  const base = { Sid, Effect: 'Allow', Action, Resource } as const;
  return [equals === undefined ? base : { ...base, Condition: { StringEquals: equals } }];
}
