import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleFunctions } from '../../../infra/bundle/build.ts';
import type { Bundle } from '../../../infra/bundle/bundle.ts';
import { createNotices } from '../../../infra/bundle/notices.ts';
import { listBundledPackages } from '../../../infra/bundle/packages.ts';
import { readMetafile } from '../../../infra/bundle/sizes.ts';

const ROOT = join(import.meta.dirname, '../../..');
/** Licences that allow redistribution in a product with another licence, on the condition that their texts are kept. */
const PERMISSIVE = ['Apache-2.0', 'MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD'];

let folder: string;
let bundles: Bundle[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-notices-'));
  bundles = await bundleFunctions({ outDir: folder });
});
afterAll(() => rm(folder, { recursive: true }));

const readBeside = ({ file }: Bundle, name: string) => readFile(join(dirname(file), name), 'utf8');

/** Returns the names of the packages whose code is in a bundle, from the paths of its sources. */
async function listPackageNames(bundle: Bundle): Promise<string[]> {
  const { outputs } = await readMetafile(bundle);
  const paths = Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
  );
  const names = paths.flatMap((path) => {
    const [scopeOrName = '', name = ''] = path.split('node_modules/').slice(1).at(-1)?.split('/') ?? [];
    return scopeOrName.startsWith('@') ? `${scopeOrName}/${name}` : scopeOrName;
  });
  return [...new Set(names)].filter((name) => name !== '').sort();
}

describe('the notices of a bundle', () => {
  it('the licence text of each package whose code is in a bundle is beside its code', async () => {
    for (const bundle of bundles) {
      const notices = (await readBeside(bundle, 'THIRD-PARTY-NOTICES.txt')).replaceAll(/\s+/g, ' ');
      const names = await listPackageNames(bundle);
      expect(names.length, bundle.name).toBeGreaterThan(0);
      for (const name of names) {
        expect(notices, `${bundle.name}: ${name}`).toContain(`${name} `);
        const files = await readdir(join(ROOT, 'node_modules', name));
        for (const file of files.filter((each) => /^(licen[cs]e|notice)/i.test(each))) {
          const text = await readFile(join(ROOT, 'node_modules', name, file), 'utf8');
          expect(notices.includes(text.replaceAll(/\s+/g, ' ').trim()), `${bundle.name}: ${name}/${file}`).toBe(true);
        }
      }
    }
  });

  it('the list of components has exactly the packages in a bundle, with version, licence and package URL', async () => {
    for (const bundle of bundles) {
      const sbom = JSON.parse(await readBeside(bundle, 'sbom.cdx.json'));
      expect(sbom).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6', version: 1 });
      const components: { name: string; version: string; purl: string; licenses: { expression: string }[] }[] =
        sbom.components;
      expect(components.map(({ name }) => name).sort()).toEqual(await listPackageNames(bundle));
      for (const { name, version, purl, licenses } of components) {
        const manifest = JSON.parse(await readFile(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'));
        expect({ version, licenses }).toEqual({
          version: manifest.version,
          licenses: [{ expression: manifest.license }],
        });
        expect(purl).toBe(`pkg:npm/${name.replace('@', '%40')}@${version}`);
      }
    }
  });

  it('every package in a bundle has a permissive licence', async () => {
    for (const bundle of bundles) {
      const packages = await listBundledPackages(await readMetafile(bundle));
      expect(packages.filter(({ license }) => !PERMISSIVE.includes(license))).toEqual([]);
    }
  });

  it('a text that several packages share appears once', () => {
    const shared = { version: '1.0.0', license: 'MIT' };
    const packages = [
      { ...shared, name: 'a', texts: ['Text of the licence\r\n'] },
      { ...shared, name: '@b/c', texts: ['Text of the licence\n', 'Notice'] },
    ];
    const [notices] = createNotices('chat', '0.1.0', packages);
    expect(String(notices?.contents).split('Text of the licence')).toHaveLength(2);
    expect(String(notices?.contents)).toContain('a 1.0.0 (MIT)\n@b/c 1.0.0 (MIT)\n');
    expect(String(notices?.contents)).toContain(`@b/c 1.0.0 (MIT)\n${'='.repeat(80)}\n\nNotice`);
  });

  it('a package without a licence text can’t be bundled', async () => {
    const bare = join(folder, 'node_modules/bare');
    await mkdir(bare, { recursive: true });
    await writeFile(join(bare, 'package.json'), JSON.stringify({ name: 'bare', version: '1.0.0', license: 'MIT' }));
    const inputs = { [relative(ROOT, join(bare, 'index.js'))]: { bytesInOutput: 1 } };
    const outputs = { 'index.mjs': { inputs, bytes: 1, imports: [], exports: [] } };
    await expect(listBundledPackages({ inputs: {}, outputs })).rejects.toThrow(/missing-licenses/);
  });
});
