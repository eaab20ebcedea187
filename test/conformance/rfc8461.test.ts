/**
 * RFC 8461, section by section, as the sender obeys it: each test is named after the requirement
 * of docs/conformance.md that it shows. Real DNS answers, policy hosts and MX hosts on loopback;
 * the clock is the test's. The sections are in rfc8461/.
 */
import { describe } from 'node:test';
import { senderWorld } from '../support/sender.ts';
import { policyFetchFailure, policyRequest, policyResponse } from './rfc8461/https-fetch.ts';
import {
  leastTlsVersion,
  mxCertificateValidation,
  mxHostValidation,
  serverNameIndication,
} from './rfc8461/mx-validation.ts';
import {
  candidateTraversal,
  connectionReuse,
  failureReports,
  policyApplication,
  policyControlFlow,
} from './rfc8461/policy-application.ts';
import { policyCache } from './rfc8461/policy-cache.ts';
import { policyRefresh } from './rfc8461/policy-refresh.ts';
import { policySelection } from './rfc8461/policy-selection.ts';
import { policyFields, policyLines } from './rfc8461/policy-text.ts';
import { txtRecordDiscovery, txtRecordSyntax } from './rfc8461/txt-record.ts';

const world = senderWorld();

describe('RFC 8461 §3.1 MTA-STS TXT Records', () => {
  describe('the record', () => txtRecordSyntax());
  describe('its discovery', () => txtRecordDiscovery(world));
});

describe('RFC 8461 §3.2 MTA-STS Policies', () => {
  describe('lines', () => policyLines());
  describe('fields', () => policyFields());
});

describe('RFC 8461 §3.3 HTTPS Policy Fetching', () => {
  describe('the request', () => policyRequest(world));
  describe('the response', () => policyResponse(world));
  describe('failures', () => policyFetchFailure(world));
  describe('what is kept', () => policyCache(world));
});

describe('RFC 8461 §3.4 Policy Selection for Smart Hosts and Subdomains', () =>
  policySelection(world));

describe('RFC 8461 §4.1 MX Host Validation', () => mxHostValidation(world));

describe('RFC 8461 §4.2 Recipient MTA Certificate Validation', () =>
  mxCertificateValidation(world));

describe('RFC 8461 §5 Policy Application', () => {
  describe('modes', () => policyApplication(world));
  describe('connections', () => connectionReuse(world));
});

describe('RFC 8461 §5.1 Policy Application Control Flow', () => policyControlFlow(world));

describe('RFC 8461 §6 Reporting Failures', () => failureReports(world));

describe('RFC 8461 §7.1 SNI Support', () => serverNameIndication(world));

describe('RFC 8461 §7.2 Minimum TLS Version Support', () => leastTlsVersion(world));

describe('RFC 8461 §8.4 Preserving MX Candidate Traversal', () => candidateTraversal(world));

describe('RFC 8461 §10.2 Preventing Policy Discovery', () => policyRefresh(world));
