import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, matchesGlob } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const FOLDERS = ['bench', 'docs', 'events', 'functions', 'infra', 'local', 'shared', 'test'];
const FILES = globSync(['*', `{${FOLDERS.join()}}/**`], {
  cwd: ROOT,
  exclude: (name) => name.includes('node_modules'),
});

/** Files that the reader writes or that Lambent writes while it runs. */
const NOT_IN_THE_REPOSITORY = [
  'models.gpu.json',
  'stages.json',
  'kms.json',
  'bench/results/',
  'opencode.json',
  '~/.config/opencode/opencode.json',
];

/** Markdown by the path of its page. */
const pages = new Map(
  FILES.filter((file) => /^(\w+|docs\/.+)\.md$/.test(file)).map((file) => [
    file,
    readFileSync(join(ROOT, file), 'utf8'),
  ]),
);

/** Returns Markdown without its blocks of code. */
const withoutCode = (markdown: string): string => markdown.replace(/^ *```[\s\S]*?^ *```$/gm, '');

/** Returns the anchors of the headings, as GitHub derives them: a repeated heading gets `-1`, `-2` and so on. */
function listAnchors(markdown: string): Set<string> {
  const counts = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, title = ''] of withoutCode(markdown).matchAll(/^#{1,6} +(.+)$/gm)) {
    const text = title.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const anchor = text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-');
    const count = counts.get(anchor) ?? 0;
    counts.set(anchor, count + 1);
    anchors.add(count === 0 ? anchor : `${anchor}-${count}`);
  }
  return anchors;
}

/** True if the target of a link on `page` is a file of the repository and, if it has an anchor, one of its headings. */
function isExistingTarget(page: string, target: string): boolean {
  const [path = '', anchor] = target.split('#');
  const file = path === '' ? page : join(dirname(page), path);
  if (!existsSync(join(ROOT, file))) return false;
  const linked = pages.get(file);
  return anchor === undefined || linked === undefined || listAnchors(linked).has(anchor);
}

/** True if `path`, which may have wildcards, is a file or folder of the repository or the end of the path of one. */
function isInRepository(path: string): boolean {
  const pattern = path.replace(/\/$/, '');
  return FILES.some((file) => matchesGlob(file, pattern) || matchesGlob(file, `**/${pattern}`));
}

/** Returns `page: text` for each first group of `pattern` on the pages of which `isValid` is false. */
function findInvalid(
  pattern: RegExp,
  isValid: (page: string, text: string) => boolean,
  toText: (markdown: string) => string = withoutCode,
): string[] {
  return [...pages].flatMap(([page, markdown]) =>
    [...toText(markdown).matchAll(pattern)]
      .filter(([, text = '']) => !isValid(page, text))
      .map(([, text]) => `${page}: ${text}`),
  );
}

describe('the Markdown pages', () => {
  it('the Markdown pages link only to files and headings that exist', () => {
    const isValid = (page: string, target: string) => /^[a-z]+:/.test(target) || isExistingTarget(page, target);
    expect(findInvalid(/\]\(([^)\s]+)\)/g, isValid)).toEqual([]);
  });

  it('the Markdown pages name only files and folders that exist in the repository', () => {
    const isValid = (page: string, path: string) =>
      // The changelog names files of earlier versions.
      page === 'CHANGELOG.md' || NOT_IN_THE_REPOSITORY.includes(path) || isInRepository(path);
    expect(findInvalid(/`([^`\s]+\.(?:ts|js|mjs|json|ya?ml|md))`/g, isValid)).toEqual([]);
    expect(findInvalid(new RegExp(`\`((?:${FOLDERS.join('|')})/[^\`\\s<]*/)\``, 'g'), isValid)).toEqual([]);
  });

  it('the Markdown pages name only npm scripts that exist, in sample commands too', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const isValid = (_page: string, name: string) => name in scripts;
    expect(findInvalid(/npm run ([\w:-]+)/g, isValid, (markdown) => markdown)).toEqual([]);
  });
});

it('each promise of docs/security.md names a test that exists', () => {
  const [, promises = ''] = /## What is promised\n([\s\S]*?)\n## /.exec(pages.get('docs/security.md') ?? '') ?? [];
  const lines = promises.split(/^- /m).slice(1);
  expect(lines.length).toBeGreaterThan(15);
  const named = lines.map((line) => [...line.matchAll(/`(test\/\S+\.test\.ts)`/g)].map(([, file = '']) => file));
  expect(lines.filter((_, index) => named[index]?.length === 0)).toEqual([]);
  expect(named.flat().filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});

it('each command of the AWS CLI on a page names its region', () => {
  const commands = [...pages].flatMap(([page, markdown]) =>
    [...markdown.matchAll(/\baws (?!iam )[a-z0-9-]+ (?:wait )?[a-z0-9-]+ .*$/gm)]
      .filter(([command]) => !command.includes('--region'))
      // On a laptop, .local/env sets the region.
      .filter(([command]) => !/GENERATION_QUEUE_URL|REPLY_QUEUE_URL|BUCKET\/local/.test(command))
      .map(([command]) => `${page}: ${command}`),
  );
  expect(commands).toEqual([]);
});
