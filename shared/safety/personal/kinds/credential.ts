import { type FindValues, findMatches, type Range } from '../finding.ts';

/** Not inside a longer run of the characters of keys. Each pattern can begin only once in a run. */
const BEGIN = '(?<![A-Za-z0-9_-])';

/** Keys that are known by their form. */
const KEYS: readonly RegExp[] = [
  // AWS access key ids.
  /(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])/g,
  // GitHub, GitLab, Slack, Google, Stripe, npm, Hugging Face, SendGrid, Groq, xAI, Perplexity, DigitalOcean, age.
  new RegExp(
    `${BEGIN}(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,64}|xox[abeoprs]-[A-Za-z0-9-]{10,255}|AIza[A-Za-z0-9_-]{35}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,255}|npm_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,64}|SG\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}|gsk_[A-Za-z0-9]{32,255}|(?:xai|pplx)-[A-Za-z0-9]{32,255}|do[opr]_v1_[a-f0-9]{64}|AGE-SECRET-KEY-1[A-Z0-9]{40,100})`,
    'g',
  ),
  // JSON Web Tokens.
  new RegExp(`${BEGIN}eyJ[A-Za-z0-9_-]{8,}\\.eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}`, 'g'),
];
/** The keys of OpenAI, Anthropic and others, and our own. Class names of style sheets look alike. */
const SECRET_KEYS = new RegExp(`${BEGIN}sk-[A-Za-z0-9_-]{16,}`, 'g');
const BEARER = /bearer[ ]{1,2}(?<value>[A-Za-z0-9._~+/=-]{16,})/gi;
const BASIC = /authorization["']?[ ]?[:=]?[ ]?["']?basic[ ]{1,2}(?<value>[A-Za-z0-9+/_-]{8,1024}={0,2})/gi;
/** Programs that know the address may post. */
const SLACK_WEBHOOK = /hooks\.slack\.com\/(?:services|workflows|triggers)\/(?<value>[A-Za-z0-9/_-]{16,255})/g;
/** The private part of a key of PuTTY. */
const PUTTY =
  /Private-Lines:[ ]?\d{1,4}\s{1,4}(?<value>[A-Za-z0-9+/=\s]{16,16384}?)(?=\s{0,4}Private-MAC|[^A-Za-z0-9+/=\s]|$)/g;
const URL_PASSWORD = /:\/\/[^\s:@/?#"'<>]{1,64}:(?<value>[^\s@/"'<>]{3,128})(?=@)/g;
const PEM = /-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----/g;
/** No private key is longer. */
const MAX_PEM = 16_384;

/** Names of secrets, with what sets them apart from their values. */
const NAMES =
  /(passw(?:or)?d|passwd|pwd|\bpw\b|passphrase|密码|口令)|(?:secret|token|api[_ -]?key|access[_ -]?key|private[_ -]?key|auth[_ -]?key|account[_ -]?key|密钥|令牌)(?:[_-]?(?:key|id|value))?/gi;
const SEPARATOR = /["'`”’)\]]{0,2}\s{0,3}(?:(?::|=){1,2}>?|是|为|\bis\b|(?<=[码令钥牌])(?=[!-~“‘]))\s{0,3}(["'`“‘]?)/iy;
const QUOTED = /[^"'`”’\n]{4,256}(?=["'`”’])/y;
/** Escapes of a password's own characters may be folded to others. */
const UNQUOTED = /[^\s\u0080-\ufffc]{4,256}/y;

/** Finds keys by their form, private keys, and values that look random after names of secrets. */
export const findCredentials: FindValues = function* (text) {
  for (const pattern of KEYS) yield* findMatches(text, pattern);
  yield* findMatches(text, SECRET_KEYS, isSecretKey);
  yield* findMatches(text, BEARER, isRandom);
  yield* findMatches(text, BASIC, (value) => !isReference(value));
  yield* findMatches(text, SLACK_WEBHOOK);
  yield* findMatches(text, PUTTY);
  yield* findMatches(text, URL_PASSWORD, (value) => !isReference(value));
  yield* findPrivateKeys(text);
  yield* findNamedSecrets(text);
};

/** Class names such as `sk-skeleton-loader-123` consist of words and short numbers. */
function isSecretKey(value: string): boolean {
  const parts = value.slice(3).split(/[-_]/);
  return (
    /\d/.test(value) &&
    !parts.every((part) => /^(?:[A-Za-z]*|\d{1,4})$/.test(part)) &&
    /[A-Za-z]{2}/.test(value.slice(3))
  );
}

function* findPrivateKeys(text: string): Generator<Range> {
  for (let from = 0; ; ) {
    PEM.lastIndex = from;
    const begin = PEM.exec(text);
    if (begin === null) return;
    const bodyStart = begin.index + begin[0].length;
    const body = text.slice(bodyStart, bodyStart + MAX_PEM);
    const end = /-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----/.exec(body);
    // A key that is cut off ends with its last line.
    const length = end === null ? (/^[A-Za-z0-9+/=\s:,]*/.exec(body)?.[0].length ?? 0) : end.index + end[0].length;
    from = bodyStart + length;
    yield { start: begin.index, end: from };
  }
}

function* findNamedSecrets(text: string): Generator<Range> {
  for (const name of text.matchAll(NAMES)) {
    SEPARATOR.lastIndex = name.index + name[0].length;
    const separator = SEPARATOR.exec(text);
    if (separator === null) continue;
    const start = SEPARATOR.lastIndex;
    const pattern = separator[1] === '' ? UNQUOTED : QUOTED;
    pattern.lastIndex = start;
    const value = trimValue(pattern.exec(text)?.[0] ?? '', separator[1] === '');
    if (value !== '' && isSecret(value, name[1] !== undefined)) yield { start, end: start + value.length };
  }
}

/** Removes what follows an unquoted value: the next parameter of a URL, closing brackets and punctuation. */
function trimValue(value: string, isUnquoted: boolean): string {
  return isUnquoted ? value.replace(/(?:&[\w.-]+=|["'`<>]).*$/, '').replace(/[,;.)\]}]+$/, '') : value;
}

function isSecret(value: string, isPassword: boolean): boolean {
  if (value.length < 6 || isReference(value)) return false;
  if (isPassword && /^\d{6,}$/.test(value)) return true;
  if (isPassword) return !isWord(value) && countClasses(value) >= 2;
  return value.length >= 8 && isRandom(value);
}

/** True for a variable, a template or asterisks in the place of a secret. */
function isReference(value: string): boolean {
  return /^[$<{%*[]|\$\{|\{\{|\(|\*{3}|x{4}|^(?:process|os|env|self|this|config|settings|request|args|options)[.[]|\.\.\./i.test(
    value,
  );
}

/** True for words with joints, such as names of fields, and for URLs, dates and paths. */
function isWord(value: string): boolean {
  return /^[A-Za-z]+(?:[_.\-/][A-Za-z]+)*[.!?:]?$|^https?:\/\/|^\d{4}-\d{2}-\d{2}|^[./]/.test(value);
}

function countClasses(value: string): number {
  return [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z0-9]/].filter((pattern) => pattern.test(value)).length;
}

/** True for a text without words: letters with digits, or letters of both cases mixed. */
function isRandom(value: string): boolean {
  if (isWord(value) && !(value.length >= 20 && /[a-z][A-Z]/.test(value) && computeEntropy(value) > 4)) return false;
  return countClasses(value) >= 2 && /[A-Za-z]/.test(value) && computeEntropy(value) > 2.5;
}

/** Returns Shannon's entropy of a text's characters, in bits per character. */
function computeEntropy(text: string): number {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let entropy = 0;
  for (const count of counts.values()) entropy -= (count / text.length) * Math.log2(count / text.length);
  return entropy;
}
